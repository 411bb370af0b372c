#!/usr/bin/env bash
# Makes a small domain with two tasks of its own from Debian's packages manpages and manpages-dev (the manual of
# Linux's system calls and libraries): usage: scripts/get-manuals.sh OUTPUT_DIR
#
#   manuals.jsonl                  the pages' text, a page a document; without the pages of dev and test
#   names-{train,dev,test}.tsv     word TAB tag: names of functions, constants and arguments, as the pages' markup has them
#   sections-{train,dev,test}.tsv  sentence TAB section it stands in
set -euo pipefail
output=$1
[ -e "$output/manuals.jsonl" ] && { echo "reusing $output"; exit 0; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Unpacked into a temporary folder: needs no root, and leaves the machine as it was.
download() { (cd "$folder" && apt-get download -qq manpages manpages-dev 2>/dev/null); }
download || { [ "$(id -u)" -eq 0 ] && apt-get update -qq && download; } ||
  { echo "get-manuals: apt cannot download manpages and manpages-dev" >&2; exit 1; }
for package in "$folder"/*.deb; do dpkg-deb -x "$package" "$folder"; done
mkdir -p "$output.new"

# Pages are roff: a line is text, or a macro; ".BR mmap (2)" is a function's name, ".B MAP_FIXED" a constant, ".I length"
# an argument. Every 14th page is for test, every 28th for dev.
find "$folder/usr/share/man/man2" "$folder/usr/share/man/man3" "$folder/usr/share/man/man7" -name '*.gz' -type f | LC_ALL=C sort | awk -v out="$output.new" '
  function plain(text) {
    gsub(/\\f\[[A-Z]*\]|\\f[A-Z]|\\[&|\/^,]/, "", text); gsub(/\\-/, "-", text); gsub(/\\\(aq/, "\x27", text)
    gsub(/\\\(em/, "-", text); gsub(/\\[ ~]/, " ", text); gsub(/"/, "", text)
    return text ~ /\\/ ? "" : text
  }
  function word(text, tag) { words[++n] = text; tags[n] = tag }
  function add(text, tag,    parts, i, count) {   # words and punctuation apart; a tag goes to the first word
    gsub(/[^A-Za-z0-9_\/.-]/, " & ", text); gsub(/[.:]( |$)/, " &", text)
    count = split(text, parts, " ")
    for (i = 1; i <= count; ++i) { word(parts[i], tag == "" ? "O" : tag); if (tag != "") tag = "" }
  }
  function flush(    i, line, useful) {
    for (i = 1; i <= n; ++i) { line = line (i > 1 ? " " : "") words[i]; useful += words[i] ~ /^[a-z]+$/ }
    if (n >= 6 && n <= 60 && useful >= n / 2 && words[n] == ".") {
      if (set == "train") page = page (page == "" ? "" : "\\n") line
      for (i = 1; i <= n; ++i) print words[i] "\t" tags[i] > (out "/names-" set ".tsv")
      print "" > (out "/names-" set ".tsv")
      if (section != "") print line "\t" section > (out "/sections-" set ".tsv")
    }
    n = 0
  }
  function macro(line,    parts, count, rest, i) {
    count = split(plain(line), parts, " ")
    if (parts[1] == ".BR" && parts[3] ~ /^\([0-9a-z]*\)/) {          # a function, and what follows its section
      add(parts[2], "B-Function"); rest = parts[3]; sub(/^\([0-9a-z]*\)/, "", rest); add(rest, "")
    } else if (parts[1] ~ /^\.BR?$/ && parts[2] ~ /^[A-Z][A-Z0-9_]+$/) {
      add(parts[2], "B-Constant"); for (i = 3; i <= count; ++i) add(parts[i], "")
    } else if (parts[1] ~ /^\.IR?$/ && parts[2] ~ /^[a-z_]+$/) {
      add(parts[2], "B-Argument"); for (i = 3; i <= count; ++i) add(parts[i], "")
    } else {
      for (i = 2; i <= count; ++i) add(parts[i], "")
    }
  }
  {
    number++; set = number % 14 == 0 ? "test" : number % 28 == 1 ? "dev" : "train"
    page = section = ""; n = 0; command = "zcat \"" $0 "\""
    while ((command | getline line) > 0) {
      if (line ~ /^[.\x27]\\"/) continue
      if (line ~ /^\.SH /) {
        flush(); section = plain(substr(line, 5))
        if (section !~ /^(DESCRIPTION|NOTES|ERRORS|RETURN VALUE|BUGS)$/) section = ""
      } else if (line ~ /^\.(B|I|BR|IR|RB|RI) /) { macro(line); if (words[n] == ".") flush() }
      else if (line ~ /^[.\x27]/) { if (words[n] == ".") flush(); else n = 0 }
      else { add(plain(line), ""); if (words[n] == ".") flush() }
    }
    close(command); flush()
    if (page != "") print "{\"text\": \"" page "\"}" > (out "/manuals.jsonl")
  }'
mv "$output.new" "$output"
wc -l "$output"/*
