#!/usr/bin/env bash
# Collects the Debian packages that a build of triax needs, with all they depend on (the C library and the compiler
# included), into one folder for a machine without a network. There `FOLDER/unpack.sh` unpacks them, without root.
#
#   scripts/bundle-deps.sh FOLDER [--tests] [--bench]
#
# To run on a Debian 12 with a network, of the same processor kind as that machine; needs no root when the package lists
# are fresh (apt-get update).
set -euo pipefail
scripts=$(cd "$(dirname "$0")" && pwd)

usage() { echo "usage: scripts/bundle-deps.sh FOLDER [--tests] [--bench]" >&2; exit 2; }
if [ $# -lt 1 ] || [ "${1#--}" != "$1" ]; then usage; fi
folder=$1
shift
wanted=$("$scripts/install-deps.sh" --list "$@") || exit 2
mkdir -p "$folder/packages/partial" "$folder/apt"
folder=$(cd "$folder" && pwd)

# As if nothing were installed; apt's own files stay in the folder while this runs.
: > "$folder/apt/status"
options=(-o Dir::State::status="$folder/apt/status" -o Dir::Cache="$folder/apt" -o Dir::Cache::archives="$folder/packages"
  -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)")
# shellcheck disable=SC2086
apt-get "${options[@]}" -y -qq --no-install-recommends --download-only install $wanted >/dev/null
rm -rf "$folder/apt" "$folder/packages/partial" "$folder/packages/lock"
cp "$scripts/unpack-deps.sh" "$folder/unpack.sh"

echo "$(find "$folder/packages" -name '*.deb' | wc -l) packages, $(du -sh "$folder" | cut -f1): copy $folder to the machine, and there"
echo "  $(basename "$folder")/unpack.sh ~/triax-deps && source ~/triax-deps/env.sh"
