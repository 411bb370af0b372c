#!/usr/bin/env bash
# Installs what the tests need, builds triax and all its tests, runs them; then builds the parsers of outside
# files once more under AddressSanitizer and UndefinedBehaviorSanitizer and runs their tests, fuzzing included.
#
#   ./test.sh            everything
#   ./test.sh --fast     without the sanitizers
#   ./test.sh --grids    only: the same answer on all grids of 2, 4 and 8 ranks, and 50 killed ranks
set -euo pipefail
cd "$(dirname "$0")"

scripts/install-deps.sh --tests
cmake -S . -B build -G Ninja -DTRIAX_TESTS=ON -DTRIAX_WERROR="${CI:-OFF}" >/dev/null
cmake --build build
if [ "${1:-}" = --grids ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
  for ranks in 2 4 8; do
    TRIAX_ALL_GRIDS=1 mpirun --oversubscribe --bind-to none -n "$ranks" build/test_parallel --gtest_filter='SameAnswer.*:TunedHeads.*'
  done
  OMPI_MCA_rmaps_base_oversubscribe=1 TRIAX_KILLS=50 build/test_parallel --gtest_filter='Jobs.KilledRuns*'
  exit
fi
ctest --test-dir build --output-on-failure -j "$(nproc)"
[ "${1:-}" != --fast ] || exit 0

parsers="base text data tasks checkpoint"
cmake -S . -B build-asan -G Ninja -DTRIAX_TESTS=ON -DTRIAX_SANITIZE=ON -DCMAKE_BUILD_TYPE=Debug \
  -DCMAKE_CXX_FLAGS_DEBUG=-O0 >/dev/null
# shellcheck disable=SC2086
cmake --build build-asan --target $(printf 'test_%s ' $parsers)
# Leaks are not looked for: oneDNN and libgomp keep what they allocate once until the end.
ASAN_OPTIONS=detect_leaks=0 ctest --test-dir build-asan --output-on-failure -j "$(nproc)" \
  -L "^($(echo $parsers | tr ' ' '|'))\$"
