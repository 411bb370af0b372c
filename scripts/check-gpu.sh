#!/usr/bin/env bash
# Everything of triax that wants a GPU, in one go: what the machine is, every kernel against its double-precision
# reference, every kernel against the measured ceilings, and training steps. Goes on after a failure; says at the end what
# failed.
#
#   scripts/check-gpu.sh [BUILD]     BUILD (default: build): a build folder; made if there is no triax in it
set -uo pipefail
build=$(realpath -m "${1:-$(dirname "$0")/../build}")
cd "$(dirname "$0")/.." || exit

if [ ! -x "$build/triax" ] || [ ! -x "$build/test_kernels" ]; then
  cmake -S . -B "$build" -G Ninja -DTRIAX_CUDA=ON >/dev/null || exit 1
  cmake --build "$build" --target triax test_kernels || exit 1
fi

failed=()
run() {
  echo "== $*"
  "$@" || failed+=("$*")
}
run "$build/triax" info
run "$build/test_kernels" --gtest_brief=1 --gtest_filter='Gpu*'
run "$build/triax" bench kernels --device cuda
gpt2=(--vocab-size 50257 --hidden-size 768 --num-layers 12 --num-heads 12 --sequence-length 1024 --micro-batch-size 16 --seconds 10)
precisions="fp32 tf32 bf16"
# FP8 from compute capability 8.9 on.
if "$build/triax" info --no-measure | grep -E 'compute capability (8\.9|9|1[0-9])' >/dev/null; then precisions="$precisions fp8"; fi
for precision in $precisions; do
  run "$build/triax" bench train --device cuda --precision $precision "${gpt2[@]}"
done
for attention in cudnn cudnn_fast; do
  run "$build/triax" bench train --device cuda --precision bf16 --attention $attention "${gpt2[@]}"
done
run "$build/triax" bench train --device cuda --precision bf16 --kind bert --post-norm --vocab-size 30522 --hidden-size 1024 --num-layers 24 \
  --num-heads 16 --sequence-length 512 --micro-batch-size 16 --seconds 10
# Beside PyTorch, compiled and with its fused attention.
if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  run python3 bench/compare_pytorch.py --device cuda --triax "$build/triax" --seconds 5 --rounds 2
else
  echo "== no PyTorch for CUDA in this Python: bench/compare_pytorch.py --device cuda is left out"
fi
if [ ${#failed[@]} -gt 0 ]; then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
echo "all of it passed"
