#!/usr/bin/env bash
# Installs what the tests need, builds triax and all its tests, runs them; then builds the parsers of outside
# files once more under AddressSanitizer and UndefinedBehaviorSanitizer and runs their tests, fuzzing included.
#
#   ./test.sh            everything
#   ./test.sh --fast     without the sanitizers
set -euo pipefail
cd "$(dirname "$0")"

scripts/install-deps.sh --tests
cmake -S . -B build -G Ninja -DTRIAX_TESTS=ON -DTRIAX_WERROR="${CI:-OFF}" >/dev/null
cmake --build build
ctest --test-dir build --output-on-failure -j "$(nproc)"
[ "${1:-}" != --fast ] || exit 0

parsers="base text data tasks checkpoint"
cmake -S . -B build-asan -G Ninja -DTRIAX_TESTS=ON -DTRIAX_SANITIZE=ON -DCMAKE_BUILD_TYPE=Debug \
  -DCMAKE_CXX_FLAGS_DEBUG=-O1 >/dev/null
# shellcheck disable=SC2086
cmake --build build-asan --target $(printf 'test_%s ' $parsers)
# Leaks are not looked for: oneDNN and libgomp keep what they allocate once until the end.
ASAN_OPTIONS=detect_leaks=0 ctest --test-dir build-asan --output-on-failure -j "$(nproc)" \
  -L "^($(echo $parsers | tr ' ' '|'))\$"
