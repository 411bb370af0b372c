#!/usr/bin/env bash
# How well `triax plan` predicts this machine: before each run it is calibrated anew, with as many ranks; then predicted
# beside measured, the step (median) and the memory (of the rank that is farthest off).
#   bench/plan_accuracy_here.sh [build/triax [all|quickstart|gpt2 [SECONDS_OF_CALIBRATION]]]
# (about 14 minutes on 2 otherwise idle cores, 5 of them for the quickstart's model; everything is kept in
# runs/plan-accuracy/)
set -euo pipefail
cd "$(dirname "$0")/.."
triax=$(realpath "${1:-build/triax}")
part=${2:-all}
seconds=${3:-16}
out=runs/plan-accuracy
unset OMP_NUM_THREADS
mkdir -p $out

# Times do not depend on what the text says: it is that of the manual.
if [ ! -e $out/tokens_text_document.idx ]; then
  cat docs/*.md >$out/text.txt
  "$triax" tokenizer train --vocab-size 2048 --output $out/tokenizer $out/text.txt >/dev/null
  "$triax" pack --tokenizer $out/tokenizer --output $out/tokens $out/text.txt >/dev/null
fi
common=(--set data.train=$out/tokens_text_document --set data.tokenizer= --set eval.batches=0 --set eval.interval=0
  --set 'eval.prompts=[]' --set checkpoint.save_at_end=false --set output.tensorboard=false --set output.log_interval=1)
quickstart=(configs/quickstart.toml --set model.vocab_size=4096 --set train.global_batch_size=32 --set train.steps=9)
gpt2=(configs/gpt2-124m.toml --set train.sequence_length=256 --set train.micro_batch_size=1 --set train.global_batch_size=8
  --set train.steps=6)

printf '%-11s %-28s %10s %10s %8s   %-15s %8s %6s\n' model grid predicted measured error 'steps took' memory load
# name of the model, ranks, name of the grid, settings
compare() {
  local model=$1 ranks=$2 grid=$3 launch=()
  shift 3
  local -n run=$model
  local name=$out/$model-${grid// /-} settings=()
  for setting; do settings+=(--set "$setting"); done
  rm -rf "$name"
  [ "$ranks" = 1 ] || launch=(--nproc "$ranks")
  "$triax" plan calibrate "${run[@]}" "${launch[@]}" --seconds "$seconds" -o "$name.toml" >"$name.log" 2>&1
  "$triax" train "${run[@]}" "${common[@]}" "${settings[@]}" "${launch[@]}" --set "output.dir=$name" >>"$name.log" 2>&1
  "$triax" plan --compare "$name" --hardware "$name.toml" >"$name.txt"
  local spread
  spread=$(grep -o '"step_seconds":[0-9.]*' "$name/metrics.jsonl" | tail -n +3 | cut -d: -f2 | sort -g | sed -n '1p;$p' | paste -sd' ')
  awk -v model="$model" -v grid="$grid" -v spread="$spread" -v load="$(cut -d' ' -f1 /proc/loadavg)" '
    $1 == "step" { predicted = $2; measured = $4; error = $6 }
    /memory/ { e = $(NF - 1) + 0; if (e * e > worst * worst) worst = e }
    END { split(spread, s, " ")
      printf "%-11s %-28s %8.3f s %8.3f s %+6.1f %%   %5.2f to %5.2f s %+6.1f %% %6s\n", model, grid, predicted, measured, error, s[1], s[2], worst, load }' "$name.txt"
}

p2=parallel.pipeline_parallel=2 t2=parallel.tensor_parallel=2 v2=parallel.virtual_pipeline=2
if [ "$part" != gpt2 ]; then
  compare quickstart 1 "1 rank"
  compare quickstart 2 "pipeline 2" $p2
  compare quickstart 2 "pipeline 2 x 2 chunks" $p2 $v2
  compare quickstart 2 "pipeline 2 zb_h1" $p2 parallel.schedule=zb_h1
  compare quickstart 2 "data 2"
  compare quickstart 4 "pipeline 4" parallel.pipeline_parallel=4
  compare quickstart 4 "pipeline 2 x data 2" $p2
  compare quickstart 4 "data 4"
fi
if [ "$part" != quickstart ]; then
  compare gpt2 1 "1 rank"
  compare gpt2 2 "tensor 2" $t2
  compare gpt2 2 "pipeline 2" $p2
  compare gpt2 2 "data 2"
  compare gpt2 4 "tensor 2 x pipeline 2" $t2 $p2
  compare gpt2 4 "pipeline 4" parallel.pipeline_parallel=4
  compare gpt2 4 "data 2 x pipeline 2" $p2
fi
