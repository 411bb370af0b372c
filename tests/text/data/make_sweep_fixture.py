#!/usr/bin/env python3
"""Makes sweep.json: digests of the ids that `tokenizers` gives a million generated strings, a thousand to a digest, and
very long words, source code and prose. The same generator is in tests/text/fixture.cpp, so that neither the strings nor
Python are needed to compare.

Uses the vocabularies that make_fixture.py left in this folder; with --more FOLDER also gpt2/ (tokenizer.json),
bert-uncased/ and bert-cased/ (vocab.txt) in it, which are not part of the project.

Run in this folder: python make_sweep_fixture.py --more ../../../../shared/data/vocab (takes some ten minutes)
"""
import argparse
import json
import multiprocessing
import os

from make_fixture import Random, digest, random_code_points, random_text
from tokenizers import BertWordPieceTokenizer, Tokenizer

BATCHES, BATCH = 1000, 1000
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
LONG = [("a", 1 << 20), ("ab", 1 << 19), ("é", 1 << 19), ("你", 1 << 18), ("=", 1 << 20), ("\u0301", 1 << 18), ("\x00", 1 << 20),
        ("1", 1 << 20), (" ", 1 << 20), ("the", 1 << 18)]


def random_words(random):
    text = ""
    for _ in range(1 + random.below(10)):
        text += " " * random.below(3)
        word = ""
        for _ in range(1 + random.below(9)):
            first, second = random.below(26), random.below(26)
            word += LETTERS[min(first, second)]
        text += word.upper() if random.below(10) == 0 else word
        if random.below(6) == 0:
            text += ".,;!?'-\n"[random.below(8)]
    return text


def sweep_text(random):
    kind = random.below(4)
    return random_code_points(random) if kind == 0 else random_words(random) if kind == 1 else random_text(random)


def load(name, more):
    folder = name if os.path.isdir(name) else os.path.join(more, name)
    if os.path.exists(os.path.join(folder, "tokenizer.json")):
        return Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    return BertWordPieceTokenizer(os.path.join(folder, "vocab.txt"), lowercase="uncased" in name)._tokenizer


def work(arguments):
    names, more, batches = arguments
    tokenizers = {name: load(name, more) for name in names}
    result = {name: [] for name in names}
    for batch in batches:
        random = Random(700000 + batch)
        texts = [sweep_text(random) for _ in range(BATCH)]
        for name, tokenizer in tokenizers.items():
            state = digest([])
            for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
                state = digest(encoding.ids, state)
            result[name].append(f"{state:016x}")
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--more")
    args = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    names = ["bpe", "wordpiece-uncased", "wordpiece-cased"]
    if args.more:
        names += ["gpt2", "bert-uncased", "bert-cased"]
    with open("corpus.jsonl", encoding="utf-8") as file:
        corpus = [json.loads(line) for line in file]
    result = {name: {"batches": [], "long": [], "corpus": ""} for name in names}
    for name in names:
        tokenizer = load(name, args.more)
        for unit, times in LONG:
            result[name]["long"].append(f"{digest(tokenizer.encode(unit * times, add_special_tokens=False).ids):016x}")
        state = digest([])
        for document in corpus:
            state = digest(tokenizer.encode(document, add_special_tokens=False).ids, state)
        result[name]["corpus"] = f"{state:016x}"
    pieces = [range(begin, begin + 20) for begin in range(0, BATCHES, 20)]
    with multiprocessing.Pool() as pool:
        for part in pool.imap(work, [(names, args.more, piece) for piece in pieces]):
            for name in names:
                result[name]["batches"] += part[name]
    for name in names:
        result[name]["batches"] = "".join(result[name]["batches"])
    with open("sweep.json", "w", encoding="utf-8") as file:
        json.dump({"long": LONG, "tokenizers": result}, file, ensure_ascii=False, indent=0)


if __name__ == "__main__":
    main()
