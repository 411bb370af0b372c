#!/usr/bin/env bash
# Runs clang-tidy with the checks of .clang-tidy: scripts/tidy.sh [--changed] [--build DIR] [FILE...]
#   --changed    only sources that differ from the main branch, or include a header that does
#   --build DIR  a configured build folder (build)
set -euo pipefail
cd "$(dirname "$0")/.."

changed=false build=build files=()
while [ $# -gt 0 ]; do
  case "$1" in
    --changed) changed=true ;;
    --build) build="${2:?--build needs a folder}"; shift ;;
    -*) echo "usage: scripts/tidy.sh [--changed] [--build DIR] [FILE...]" >&2; exit 2 ;;
    *) files+=("$1") ;;
  esac
  shift
done
command -v clang-tidy >/dev/null || { echo "clang-tidy is missing: apt-get install clang-tidy" >&2; exit 1; }
[ -f "$build/compile_commands.json" ] || { echo "$build is not configured: cmake -S . -B $build" >&2; exit 1; }

if [ ${#files[@]} -eq 0 ] && $changed; then
  mapfile -t touched < <({ git diff --name-only --diff-filter=d "$(git merge-base main HEAD)"; git ls-files -o --exclude-standard; } |
    grep -E '^src/.*\.(cpp|h)$' | sort -u)
  for file in "${touched[@]}"; do
    case "$file" in
      *.cpp) files+=("$file") ;;
      *) mapfile -t -O ${#files[@]} files < <(git grep -l "#include \"${file#src/}\"" -- 'src/*.cpp') ;;
    esac
  done
  if [ ${#files[@]} -eq 0 ]; then echo "nothing changed"; exit 0; fi
  mapfile -t files < <(printf '%s\n' "${files[@]}" | sort -u)
elif [ ${#files[@]} -eq 0 ]; then
  mapfile -t files < <(git ls-files 'src/*.cpp')
fi

# OpenMP's headers belong to gcc; what clang does not know of gcc's flags is not our mistake.
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -n 1 clang-tidy -p "$build" --quiet --extra-arg=-Wno-unknown-warning-option \
  2> >(grep -vE '^[0-9]+ warnings? (generated|treated)|^Suppressed|^Use -header-filter' >&2 || true)
