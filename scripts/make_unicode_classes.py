#!/usr/bin/env python3
"""Writes what the tokenizers must know of Unicode, as runs of equal classes over all code points:

  src/triax/text/gpt2_classes.inc  what the GPT-2 pattern takes each character for
  src/triax/text/bert_classes.inc  what BERT's normalizer and pre-tokenizer do with it

The classes are asked of the `tokenizers` library itself, one code point at a time, so that following a
new version of it is one run of this script, in the root of the repository.
"""
import tokenizers
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel

split = ByteLevel(add_prefix_space=False).pre_tokenize_str
bert_split = BertPreTokenizer().pre_tokenize_str
OFF = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
clean = BertNormalizer(**(OFF | {"clean_text": True})).normalize_str
strip = BertNormalizer(**(OFF | {"strip_accents": True})).normalize_str


def gpt2_class(c):
    if len(split("a" + c + "a")) == 1:
        return 1
    if len(split("1" + c + "1")) == 1:
        return 2
    return 0 if len(split("!" + c + "!")) == 1 else 3


def bert_class(c):
    cleaned = clean("a" + c + "b")
    if cleaned == "ab":
        return 1
    words = [word for word, _ in bert_split("a" + c + "b")]
    if words == ["a", "b"]:
        assert cleaned == "a b"
        return 2
    if len(words) == 3:
        return 3
    return 4 if strip(c) == "" else 0


def write(path, classify, names):
    runs, last = [], -1
    for code in range(0x110000):
        kind = 0 if 0xD800 <= code < 0xE000 else classify(chr(code))
        if kind != last:
            runs.append(code << 3 | kind)
            last = kind
    with open(path, "w") as file:
        file.write(f"// Made by scripts/make_unicode_classes.py with tokenizers {tokenizers.__version__}. First code point\n")
        file.write(f"// of each run << 3 | class: {names}.\n")
        line = ""
        for run in runs:
            item = f"0x{run:X},"
            if len(line) + len(item) > 100:
                file.write(line + "\n")
                line = ""
            line += item
        file.write(line + "\n")


write("src/triax/text/gpt2_classes.inc", gpt2_class, "0 other, 1 letter, 2 number, 3 white space")
write("src/triax/text/bert_classes.inc", bert_class,
      "0 other, 1 removed, 2 white space, 3 punctuation, 4 accent")
