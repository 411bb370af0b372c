#!/usr/bin/env bash
# Installs what the tests need, builds triax and all its tests, runs them.
set -euo pipefail
cd "$(dirname "$0")"
scripts/install-deps.sh --tests
cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DTRIAX_TESTS=ON -DTRIAX_WERROR="${CI:-OFF}" >/dev/null
cmake --build build
ctest --test-dir build --output-on-failure -j "$(nproc)"
