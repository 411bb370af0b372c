#!/usr/bin/env bash
# Writes what is generated in docs/ from the built program: scripts/update-docs.sh [build/triax]
set -euo pipefail
cd "$(dirname "$0")/.."
triax="${1:-build/triax}"
page=docs/configuration.md
reference="$("$triax" config --reference)"
{
  sed '/^<!-- reference -->$/q' "$page"
  printf '%s\n' "$reference"
  sed -n '/^<!-- end of reference -->$/,$p' "$page"
} >"$page.new"
mv "$page.new" "$page"
