#!/usr/bin/env bash
# Two ranks of one thread against one rank of two threads, and the idle time of pipelines against the published
# formulas; all in one run, as ratios.  bench/grid.sh [build/triax [throughput|idle]]
# (about 9 minutes on 2 cores, otherwise idle; the idle times alone 5 minutes)
set -euo pipefail
cd "$(dirname "$0")/.."
triax=${1:-build/triax}
part=${2:-all}
unset OMP_NUM_THREADS

number() { awk -v key="$1" 'index($0, key) == 1 { print $(split(key, words, " ") + 1) }' <<<"$2"; }
bench() { "$triax" bench train --no-peak "$@"; }

if [ "$part" != idle ]; then
echo "GPT-2 124M, s 256, global batch 16; throughput of 2 ranks x 1 thread over 1 rank x 2 threads"
model=(--vocab-size 50304 --hidden-size 768 --num-layers 12 --num-heads 12 --sequence-length 256 --seconds 1)
serial=$(number throughput "$(OMP_NUM_THREADS=2 bench "${model[@]}" --micro-batch-size 2 --micro-batches 8)")
printf '  %-34s %8.1f tokens/s\n' "1 rank" "$serial"
compare() { # name, published share of idle time, options
  local name=$1 idle=$2
  shift 2
  local out rate
  out=$(bench "${model[@]}" --nproc 2 "$@")
  rate=$(number throughput "$out")
  awk -v n="$name" -v r="$rate" -v s="$serial" -v i="$idle" 'BEGIN {
    printf "  %-34s %8.1f tokens/s, %5.1f %% of one rank, %5.1f %% without the published idle time\n", n, r, 100*r/s, 100*r/s/(1-i) }'
  grep '^pipeline' <<<"$out" | cut -c16- | sed 's/^/      /' || true
}
compare "tensor 2" 0 --tensor-parallel 2 --micro-batch-size 2 --micro-batches 8
compare "tensor 2, sequence parallel" 0 --tensor-parallel 2 --sequence-parallel --micro-batch-size 2 --micro-batches 8
compare "data 2" 0 --micro-batch-size 2 --micro-batches 4
compare "data 2, ZeRO 1" 0 --zero-stage 1 --micro-batch-size 2 --micro-batches 4
compare "pipeline 2, interleaved, m 8" 0.0588 --pipeline-parallel 2 --virtual-pipeline 2 --micro-batch-size 2 --micro-batches 8
fi
[ "$part" != throughput ] || exit 0

echo "Idle time of a pipeline of 2 ranks (8 equal layers, h 384, s 256, micro-batch 2), mean of 10 steps"
small=(--vocab-size 64 --hidden-size 384 --num-layers 8 --num-heads 6 --sequence-length 256 --micro-batch-size 2 --seconds 0 --steps 10
  --nproc 2 --pipeline-parallel 2)
for schedule in gpipe one_f_one_b interleaved_1f1b zb_h1; do
  for m in 2 4 8; do
    options=(--schedule "$schedule" --micro-batches "$m")
    [ "$schedule" != interleaved_1f1b ] || options+=(--virtual-pipeline 2)
    out=$(bench "${small[@]}" "${options[@]}")
    printf '  %s; %8.1f tokens/s\n' "$(grep '^pipeline' <<<"$out" | cut -c16-)" "$(number throughput "$out")"
  done
done
