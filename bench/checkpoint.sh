#!/usr/bin/env bash
# How long training waits for a checkpoint that is written in the background, beside one that is not; GPT-2 124M,
# both in one run.  bench/checkpoint.sh [build/triax [--set key=value ...]]
# (about 3 minutes on 2 cores, otherwise idle; 4 GB below $TMPDIR)
set -euo pipefail
cd "$(dirname "$0")/.."
triax=${1:-build/triax}
settings=("${@:2}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$triax" tokenizer train --vocab-size 512 --output "$folder/vocabulary" docs/*.md >"$folder/log"
"$triax" pack --tokenizer "$folder/vocabulary" --output "$folder/tokens" docs/*.md >>"$folder/log"
cat >"$folder/run.toml" <<END
[model]
vocab_size = 50304
hidden_size = 768
num_layers = 12
num_heads = 12
max_positions = 256
[train]
steps = 17
micro_batch_size = 2
global_batch_size = 4
[data]
train = ["$folder/tokens_text_document"]
[eval]
batches = 0
[checkpoint]
interval = 4
keep = 1
save_at_end = false
[output]
tensorboard = false
END

# Seconds that training waited for each save, and the steps that a save in the background ran beside and others.
measure() { # name, background
  "$triax" train "$folder/run.toml" --set "output.dir=$folder/$1" --set "checkpoint.background=$2" "${settings[@]}" >"$folder/$1.log"
  local waits
  waits=$(sed -n 's/^checkpoint .*training waited \([0-9.]*\)s.*/\1/p' "$folder/$1.log")
  rm -rf "$folder/$1/checkpoints"
  awk '{ n++; sum += $1 } END { if (n != 4) exit 1; printf "%.4f", sum / n }' <<<"$waits"
}
steps() { # name, whether just after a save
  sed -n 's/.*"step":\([0-9]*\),.*"step_seconds":\([0-9.]*\).*/\1 \2/p' "$folder/$1/metrics.jsonl" |
    awk -v after="$2" '$1 > 4 && (($1 % 4 == 1) == after) { n++; sum += $2 } END { printf "%.3f", sum / n }'
}

direct=$(measure direct false)
background=$(measure background true)
printf 'a save holds training up for   %s s; in the background for %s s: %s %%\n' "$direct" "$background" \
  "$(awk "BEGIN { printf \"%.1f\", 100 * $background / $direct }")"
printf 'a step                         %s s; beside a save in the background %s s\n' "$(steps background 0)" "$(steps background 1)"
