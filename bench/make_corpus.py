#!/usr/bin/env python3
"""Writes a corpus of a given size as JSON lines from text that is smaller, for measurements only.

    python bench/make_corpus.py --bytes 100e6 --output corpus.jsonl books/*.txt articles.jsonl

The documents are the paragraphs of the files (or the "text" of JSON lines), again and again until the size is
reached. So that the number of distinct words goes on growing, as it does in real text, in the second round one word
of three (by its hash) has its vowels changed, in the third another way, and so on.
"""
import argparse
import json
import re
import zlib

VOWELS = "aeiou"


def documents(paths):
    for path in paths:
        with open(path, encoding="utf-8", newline="") as file:
            if path.endswith(".jsonl"):
                for line in file:
                    yield json.loads(line)["text"]
            else:
                yield from (part for part in re.split(r"\n{2,}", file.read()) if part.strip())


def varied(text, turn):
    table = str.maketrans({v: VOWELS[(i + turn) % 5] for i, v in enumerate(VOWELS)})

    def change(match):
        word = match.group()
        return word.translate(table) if zlib.crc32(word.encode()) % 3 == turn % 3 else word

    return re.sub(r"[A-Za-z]+", change, text) if turn else text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=float, default=100e6, help="of text")
    parser.add_argument("--output", required=True)
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    total = turn = 0
    with open(args.output, "w", encoding="utf-8") as out:
        while total < args.bytes:
            for text in documents(args.files):
                text = varied(text, turn)
                out.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
                total += len(text.encode())
                if total >= args.bytes:
                    break
            turn += 1


if __name__ == "__main__":
    main()
