#!/usr/bin/env python3
"""Makes what the tests of SentencePiece compare with, by the `sentencepiece` package
(0.1.99; later ones give no offsets without protobuf):

  sentencepiece-{unigram,bpe}/tokenizer.model    learned from corpus.jsonl, with a normalizer of a few rules
  sentencepiece-{unigram,bpe}/cases.json         texts with ids, byte offsets and decoded text

Run in this folder, after make_fixture.py: python make_sentencepiece_fixture.py
"""
import json
import os
import tempfile

import sentencepiece
from make_fixture import SENTENCES, Random, random_code_points, random_text

RULES = {"ﬁ": "fi", "ﬂ": "fl", "\u3000": " ", "\t": " ", "\n": " ", "\r": " ", "\u00a0": " ", "e\u0301": "é", "u\u0308": "ü",
         "①": "1", "Ａ": "A", "½": "1/2", "\u200b": "", "\u00ad": "", "\u3042\u3044": "\u3042"}


def train(name, folder, **options):
    rules = os.path.join(folder, "rules.tsv")
    with open(rules, "w", encoding="utf-8") as file:
        for source, target in RULES.items():
            codes = [" ".join(f"{ord(c):X}" for c in text) for text in (source, target)]
            file.write("\t".join(codes) + "\n")
    with open("corpus.jsonl", encoding="utf-8") as file:
        documents = [line for text in file for line in json.loads(text).split("\n")]
    os.makedirs(f"sentencepiece-{name}", exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(documents), model_prefix=os.path.join(folder, "m"), vocab_size=800, model_type=name,
        normalization_rule_tsv=rules, character_coverage=0.98, num_threads=1, minloglevel=2, **options)
    os.replace(os.path.join(folder, "m.model"), f"sentencepiece-{name}/tokenizer.model")


def make_cases(name):
    processor = sentencepiece.SentencePieceProcessor(model_file=f"sentencepiece-{name}/tokenizer.model")
    random = Random(11)
    texts = SENTENCES + [random_text(random) for _ in range(60)] + [random_code_points(random) for _ in range(5)]
    texts += ["", " ", "   ", "a  b", "[MASK] the [CLS] <s>", "x\u0000y", "e\u0301te\u0301 ﬁn", "\u2581the \u2581\u2581",
              "a" * 300, "<0x0A>", "\u3042\u3044\u3042", " ½ ①"]
    cases = []
    for text in texts:
        at = [0]
        for c in text:
            at.append(at[-1] + len(c.encode()))
        pieces = processor.encode(text, out_type="immutable_proto").pieces
        ids = [p.id for p in pieces]
        cases.append({"text": text, "ids": ids, "offsets": [[at[p.begin], at[p.end]] for p in pieces],
                      "decoded": processor.decode(ids)})
    with open(f"sentencepiece-{name}/cases.json", "w", encoding="utf-8") as file:
        json.dump(cases, file, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        train("unigram", folder, user_defined_symbols=["[MASK]"], control_symbols=["[CLS]", "[SEP]"], pad_id=3)
        train("bpe", folder, byte_fallback=True, remove_extra_whitespaces=False)
    for model in ("unigram", "bpe"):
        make_cases(model)
