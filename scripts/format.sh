#!/usr/bin/env bash
# Formats the C++ files with clang-format: scripts/format.sh [--check] [--changed] [FILE...]
#   --check    change nothing; name the files that are not formatted and fail if there are any
#   --changed  only files that differ from the main branch
set -euo pipefail
cd "$(dirname "$0")/.."

check=false changed=false files=()
for argument in "$@"; do
  case "$argument" in
    --check) check=true ;;
    --changed) changed=true ;;
    -*) echo "usage: scripts/format.sh [--check] [--changed] [FILE...]" >&2; exit 2 ;;
    *) files+=("$argument") ;;
  esac
done
command -v clang-format >/dev/null || { echo "clang-format is missing: apt-get install clang-format" >&2; exit 1; }

if [ ${#files[@]} -eq 0 ]; then
  if $changed; then
    mapfile -t files < <({ git diff --name-only --diff-filter=d "$(git merge-base main HEAD)"; git ls-files -o --exclude-standard; } |
      grep -E '\.(cpp|h|cu|cuh)$' | sort -u)
  else
    mapfile -t files < <(git ls-files '*.cpp' '*.h' '*.cu' '*.cuh')
  fi
fi
if [ ${#files[@]} -eq 0 ]; then exit 0; fi

if $check; then
  bad=0
  for file in "${files[@]}"; do
    clang-format --dry-run --Werror "$file" 2>/dev/null || { echo "not formatted: $file"; bad=$((bad + 1)); }
  done
  if [ "$bad" -gt 0 ]; then echo "$bad files; run scripts/format.sh"; exit 1; fi
else
  clang-format -i "${files[@]}"
fi
