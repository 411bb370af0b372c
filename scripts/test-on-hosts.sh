#!/usr/bin/env bash
# Runs the multi-rank tests across several "hosts" of this machine: network namespaces with addresses and names of
# their own, between which everything goes over TCP. Needs root, ip (iproute2) and a kernel that allows namespaces.
#
#   scripts/test-on-hosts.sh [build-folder] [gtest filter]
set -euo pipefail
cd "$(dirname "$0")/.."
build=$(realpath "${1:-build}")
filter=${2:--Jobs.*:World.KnowsItsRanks}
hosts=(triax-a triax-b)

skip() { echo "skipped: $*"; exit 0; }
[ "$(id -u)" -eq 0 ] || skip "namespaces need root"
command -v ip >/dev/null || skip "no ip command (apt-get install iproute2)"
ip netns add "${hosts[0]}" 2>/dev/null || skip "this machine does not allow network namespaces"

work=$(mktemp -d)
cleanup() {
  for host in "${hosts[@]}"; do
    ip netns delete "$host" 2>/dev/null || true
    rm -rf "/etc/netns/$host"
  done
  rm -rf "$work"
}
trap cleanup EXIT

# Two hosts, one wire, names in the hosts file of each.
ip netns add "${hosts[1]}"
ip link add wire-a netns "${hosts[0]}" type veth peer name wire-b netns "${hosts[1]}"
address=1
for host in "${hosts[@]}"; do
  wire=wire-${host#triax-}
  ip -n "$host" link set lo up
  ip -n "$host" addr add "10.77.0.$address/24" dev "$wire"
  ip -n "$host" link set "$wire" up
  mkdir -p "/etc/netns/$host"
  printf '127.0.0.1 localhost\n10.77.0.1 triax-a\n10.77.0.2 triax-b\n' >"/etc/netns/$host/hosts"
  address=$((address + 1))
done

# What mpirun uses in place of ssh: agent HOST COMMAND...
cat >"$work/agent" <<'AGENT'
#!/bin/sh
host=$1
shift
exec ip netns exec "$host" unshare --uts sh -c 'hostname "$0"; eval "$1"' "$host" "$*"
AGENT
chmod +x "$work/agent"

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
"$work/agent" triax-a "cd '$PWD' && exec timeout 300 mpirun --host triax-a:2,triax-b:2 --oversubscribe --bind-to none \
  --mca plm_rsh_agent '$work/agent' --mca btl_tcp_if_exclude lo --mca oob_tcp_if_exclude lo \
  -x OMP_NUM_THREADS -n 4 '$build/test_parallel' --gtest_brief=1 --gtest_filter='$filter'"
