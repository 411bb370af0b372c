#!/usr/bin/env bash
# Installs a finished build into a temporary folder, then uses what is there as a stranger would:
#   tests/install/run.sh build
set -euo pipefail
build="$(cd "$1" && pwd)"
here="$(cd "$(dirname "$0")" && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/prefix" >"$work/log" || { cat "$work/log"; exit 1; }
for file in bin/triax share/triax/configs/gpt2-124m.toml share/doc/triax/configuration.md share/doc/triax/copyright \
  share/bash-completion/completions/triax share/zsh/site-functions/_triax share/fish/vendor_completions.d/triax.fish; do
  [ -s "$work/prefix/$file" ] || { echo "not installed: $file"; exit 1; }
done
"$work/prefix/bin/triax" --version

cmake -S "$here" -B "$work/consumer" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_BUILD_TYPE=Debug >"$work/log" ||
  { cat "$work/log"; exit 1; }
cmake --build "$work/consumer" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
output="$("$work/consumer/consumer" "$work/prefix/share/triax/configs/gpt2-124m.toml")"
echo "$output"
[[ "$output" == *"steps, computes" ]]
