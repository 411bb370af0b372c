#!/usr/bin/env bash
# Installs from apt what triax needs on Debian 12. `--tests` adds what only the tests need.
# Does nothing, and needs no root, when everything is there already. `--list` prints the packages and does nothing else.
set -euo pipefail

packages=(g++ cmake ninja-build pkg-config ca-certificates
  libdnnl-dev libhwy-dev libopenmpi-dev openmpi-bin
  libfmt-dev libspdlog-dev libtomlplusplus-dev libcli11-dev libsimdjson-dev nlohmann-json3-dev
  libicu-dev libzstd-dev zlib1g-dev libxxhash-dev libsentencepiece-dev)
list=no
for argument in "$@"; do
  case "$argument" in
    --tests) packages+=(libgtest-dev) ;;
    --bench) packages+=(libbenchmark-dev) ;;
    --list) list=yes ;;
    *) echo "usage: scripts/install-deps.sh [--tests] [--bench] [--list]" >&2; exit 2 ;;
  esac
done
if [ "$list" = yes ]; then echo "${packages[*]}"; exit 0; fi

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

if ! command -v apt-get >/dev/null; then
  echo "triax: these are missing and there is no apt-get to install them: ${missing[*]}" >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "triax: run as root, or install sudo, to install: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "installing ${#missing[@]} packages: ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends "${missing[@]}" >/dev/null
