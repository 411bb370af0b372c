#!/usr/bin/env python3
"""Writes src/triax/text/unicode_classes.inc: for every code point, whether the GPT-2 pattern takes it
for a letter, a number, white space or something else.

The classes are asked of the `tokenizers` library itself, one code point at a time, so that a new
Unicode version there is one run of this script here:

    python scripts/make_unicode_classes.py > src/triax/text/unicode_classes.inc
"""
import tokenizers
from tokenizers.pre_tokenizers import ByteLevel

split = ByteLevel(add_prefix_space=False).pre_tokenize_str


def classify(code):
    if 0xD800 <= code < 0xE000:
        return 0
    c = chr(code)
    if len(split("a" + c + "a")) == 1:
        return 1
    if len(split("1" + c + "1")) == 1:
        return 2
    return 0 if len(split("!" + c + "!")) == 1 else 3


runs, last = [], -1
for code in range(0x110000):
    kind = classify(code)
    if kind != last:
        runs.append(code << 2 | kind)
        last = kind

print(f"// Made by scripts/make_unicode_classes.py with tokenizers {tokenizers.__version__}. First code point of")
print("// each run << 2 | class: 0 other, 1 letter, 2 number, 3 white space.")
line = ""
for run in runs:
    item = f"0x{run:X},"
    if len(line) + len(item) > 100:
        print(line)
        line = ""
    line += item
print(line)
