#!/usr/bin/env python3
"""Makes inputs.json: texts and pairs as `tokenizers` cuts them to a length, in windows with a stride, with what its
post-processors put around them: of each window the number of tokens, and a digest of (id, type, text it
comes from, byte offsets) of each token. Uses the vocabularies that make_fixture.py left in this folder.

Run in this folder: python make_inputs_fixture.py
"""
import itertools
import json

from make_fixture import digest
from tokenizers import BertWordPieceTokenizer, Tokenizer, processors

QUESTION = "Which fox jumps over the lazy dog?"
CONTEXT = ("The quick brown fox jumps over the lazy dog; it's what they've said, we'll see. Die Katze sitzt auf der "
           "Fensterbank und schaut den Vögeln draußen zu. x = y + 42; 東京の天気は今日も晴れです。")
PAIRS = [(QUESTION, CONTEXT), (CONTEXT, QUESTION), (QUESTION, ""), ("", CONTEXT), ("", ""), (CONTEXT, None), ("", None)]
PROCESSORS = {
    "wordpiece-uncased": lambda: None,
    "bpe": lambda: None,
    "roberta": lambda: processors.RobertaProcessing(("Ġthe", 280), ("<|endoftext|>", 0), trim_offsets=False),
    "template": lambda: processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|endoftext|>:2 $A:0 <|endoftext|>:4", pair="$B:1 <|endoftext|>:5 $A:0", special_tokens=[("<|endoftext|>", 0)])]),
}


def windows(tokenizer, first, second):
    encoding = tokenizer.encode(first, second)
    result = []
    for part in [encoding] + encoding.overflowing:
        numbers = []
        for id, type_id, segment, (begin, end) in zip(part.ids, part.type_ids, part.sequence_ids, part.offsets):
            text = "" if segment is None else (first, second)[segment]
            numbers += [id, type_id, 0 if segment is None else segment + 1]
            numbers += [len(text[:begin].encode()), len(text[:end].encode())]
        result.append([len(part.ids), f"{digest(numbers):016x}"])
    return result


def main():
    cases = []
    for name, make in PROCESSORS.items():
        if name == "wordpiece-uncased":
            tokenizer = BertWordPieceTokenizer("wordpiece-uncased/vocab.txt", lowercase=True)._tokenizer
        else:
            tokenizer = Tokenizer.from_file("bpe/tokenizer.json")
            if make():
                tokenizer.post_processor = make()
        post = json.loads(tokenizer.to_str())["post_processor"] if make() else None
        for (first, second), (length, stride), cut, side in itertools.product(
                PAIRS, [(0, 0), (24, 0), (24, 5), (37, 11)], ["longest_first", "only_first", "only_second"], ["right", "left"]):
            if name not in ("wordpiece-uncased", "bpe") and (side == "left" or length == 24):
                continue
            if second is None and cut != "longest_first" or cut == "longest_first" and stride and second is not None:
                continue
            if length == 0 and (cut != "longest_first" or side == "left"):
                continue
            if length:
                tokenizer.enable_truncation(length, stride=stride, strategy=cut, direction=side)
            else:
                tokenizer.no_truncation()
            try:
                found = windows(tokenizer, first, second)
            except BaseException:  # the text that is not cut is too long
                continue
            if cut == "longest_first" and second is not None:
                found = found[:1]
            cases.append({"name": name, "first": first, "second": second, "length": length, "stride": stride, "cut": cut,
                          "side": side, "windows": found, "post_processor": json.dumps(post) if post else ""})
    with open("inputs.json", "w", encoding="utf-8") as file:
        json.dump(cases, file, ensure_ascii=False, separators=(",", ":"))
    print(len(cases), "cases")


if __name__ == "__main__":
    main()
