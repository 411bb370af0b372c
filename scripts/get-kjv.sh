#!/usr/bin/env bash
# Writes the King James Bible as JSON lines, one chapter a document, from Debian's packages bible-kjv and
# bible-kjv-text (the text is in the public domain).  usage: scripts/get-kjv.sh OUTPUT.jsonl
set -euo pipefail
output=$1
[ -e "$output" ] && { echo "reusing $output"; exit 0; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if command -v bible >/dev/null; then
  bible=(bible)
else
  # Unpacked into a temporary folder: needs no root, and leaves the machine as it was.
  # With the one library it needs that a small Debian lacks.
  download() { (cd "$folder" && apt-get download -qq bible-kjv bible-kjv-text libreadline8 2>/dev/null); }
  download || { [ "$(id -u)" -eq 0 ] && apt-get update -qq && download; } ||
    { echo "get-kjv: apt cannot download bible-kjv and bible-kjv-text; give your own text: ./quickstart.sh FILE..." >&2; exit 1; }
  for package in "$folder"/*.deb; do dpkg-deb -x "$package" "$folder"; done
  bible=(env LD_LIBRARY_PATH="$(echo "$folder"/lib/*-linux-gnu*)" "$folder/usr/bin/bible" -p "$folder/usr/lib")
fi
mkdir -p "$(dirname "$output")"
# Lines are "Ge1:1 In the beginning ...": the verse without its number; a new document at each chapter.
COLUMNS=100000 "${bible[@]}" -f Gen1:1-Rev22:21 | awk '
  { split($1, reference, ":"); sub(/^[^ ]+ /, ""); gsub(/\\/, "\\\\"); gsub(/"/, "\\\"") }
  reference[1] != chapter { if (chapter != "") print "\"}"; printf "{\"text\": \""; chapter = reference[1]; first = 1 }
  { printf "%s%s", first ? "" : "\\n", $0; first = 0 }
  END { print "\"}" }' > "$output.tmp"
mv "$output.tmp" "$output"
