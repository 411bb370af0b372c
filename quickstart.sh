#!/usr/bin/env bash
# From nothing to a trained GPT: installs what is needed, builds triax, gets English text, trains a
# vocabulary and a GPT of about 10 M parameters on it for about three minutes, shows what it writes.
#
#   ./quickstart.sh               the King James Bible, from Debian's own packages
#   ./quickstart.sh FILE...       your own text: .txt, .jsonl, also .gz or .zst
#
# A second run reuses what the first one made. Everything is kept below quickstart-data/ and
# runs/quickstart/; remove them to start anew.  MINUTES=10 ./quickstart.sh trains longer.
set -euo pipefail
cd "$(dirname "$0")"

minutes=${MINUTES:-3}
vocab_size=4096

case "${1:-}" in
  -h|--help) sed -n '2,10p' "$0" | cut -c3-; exit 0 ;;
esac
say() { printf '\n\033[1m==> %s\033[0m\n' "$*"; }
for file in "$@"; do
  [ -r "$file" ] || { echo "quickstart: cannot read $file" >&2; exit 1; }
done

say "1/6 packages and build"
scripts/install-deps.sh
cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release $([ -e build/CMakeCache.txt ] || echo -DTRIAX_TESTS=OFF) >/dev/null
cmake --build build --target triax | tail -n 1
triax=build/triax

say "2/6 text"
if [ $# -gt 0 ]; then
  texts=("$@")
  name=own-$(cat "$@" | cksum | cut -d' ' -f1)
else
  name=kjv
  scripts/get-kjv.sh quickstart-data/kjv.jsonl
  texts=(quickstart-data/kjv.jsonl)
fi
data=quickstart-data/$name
run=runs/quickstart
[ "$name" = kjv ] || run=runs/quickstart-$name
mkdir -p "$data"
ls -l "${texts[@]}" | awk '{printf "%s: %.1f MB\n", $NF, $5 / 1e6}'

say "3/6 vocabulary of $vocab_size tokens"
if [ -e "$data/tokenizer/tokenizer.json" ]; then
  echo "reusing $data/tokenizer"
else
  $triax tokenizer train --vocab-size "$vocab_size" --output "$data/tokenizer" "${texts[@]}"
fi

say "4/6 tokens"
if [ -e "$data/tokens_text_document.idx" ]; then
  echo "reusing $data/tokens_text_document"
else
  $triax pack --tokenizer "$data/tokenizer" --output "$data/tokens" "${texts[@]}"
fi

# Two ranks where there are two cores: each has every other layer, and micro-batches go through them in turn.
grid=()
[ "$(nproc)" -lt 2 ] || grid=(--nproc 2)
say "5/6 training for about $minutes minutes${grid:+ on 2 ranks, an interleaved pipeline}"
config=configs/quickstart.toml
if [ -e "$run/config.toml" ]; then
  config=$run/config.toml   # the same run again: continue it, or find it finished
  $triax train "$config" "${grid[@]}"
else
  options=("${grid[@]}" --minutes "$minutes" --set "output.dir=$run"
    --set "data.train=$data/tokens_text_document" --set "data.tokenizer=$data/tokenizer")
  [ ${#grid[@]} -eq 0 ] || options+=(--set parallel.pipeline_parallel=2 --set parallel.virtual_pipeline=2
    --set train.micro_batch_size=1)
  # Where the CPU multiplies bf16 itself, activations in bf16 train about 1.6 times as fast.
  ! grep -qE 'avx512_bf16|amx_bf16' /proc/cpuinfo || options+=(--set train.precision=bf16)
  [ $# -gt 0 ] || options+=(--set 'eval.prompts=["And it came to pass", "The LORD said unto", "Blessed are"]')
  $triax train "$config" "${options[@]}"
fi

say "6/6 report"
$triax report "$run"
