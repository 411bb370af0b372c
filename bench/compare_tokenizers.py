#!/usr/bin/env python3
"""Compares triax's byte-level BPE with Hugging Face `tokenizers` and tiktoken, in one run on one machine:
encoding speed on one thread, equality of the ids, and time to learn a vocabulary (all cores) and
equality of its merges.

    python bench/compare_tokenizers.py --triax build/triax --tokenizer gpt2 book.txt ...

`gpt2` is a folder with tokenizer.json, vocab.json and merges.txt of GPT-2. Each paragraph of the files
is a document. Needs the Python packages tokenizers and tiktoken, only here.
"""
import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread for encoding; set again for training
import tiktoken
import tokenizers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


def read_paragraphs(paths):
    documents = []
    for path in paths:
        with open(path, encoding="utf-8", newline="") as file:
            documents += [part for part in re.split(r"\n{2,}", file.read()) if part.strip()]
    return documents


def make_tiktoken(folder):
    """tiktoken's GPT-2 from the files at hand: ranks are the ids."""
    byte_of = {}
    codes = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    for byte in range(256):
        byte_of[chr(byte) if byte in codes else chr(256 + sum(b not in codes for b in range(byte)))] = byte
    with open(os.path.join(folder, "vocab.json"), encoding="utf-8") as file:
        vocab = json.load(file)
    special = {"<|endoftext|>": vocab.pop("<|endoftext|>")}
    ranks = {bytes(byte_of[c] for c in token): i for token, i in vocab.items()}
    order = {id: i for i, id in enumerate(sorted(ranks.values()))}
    assert all(order[i] == i for i in ranks.values())
    return tiktoken.Encoding("gpt2-local", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens=special)


def best_time(rounds, action):
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()  # processor time, which other work on the machine disturbs least
        result = action()
        best = min(best, time.process_time() - start)
    return best, result


def compare_encoding(args, documents, corpus):
    megabytes = sum(len(d.encode()) for d in documents) / 1e6
    ours = json.loads(subprocess.run([args.triax, "tokenizer", "bench", "-t", args.tokenizer, "--rounds", str(args.rounds),
                                      corpus], check=True, capture_output=True, text=True).stdout)
    hugging_face = Tokenizer.from_file(os.path.join(args.tokenizer, "tokenizer.json"))
    hf_seconds, hf_ids = best_time(args.rounds, lambda: [e.ids for e in hugging_face.encode_batch_fast(
        documents, add_special_tokens=False)])
    tik = make_tiktoken(args.tokenizer)
    tik_seconds, tik_ids = best_time(args.rounds, lambda: [tik.encode_ordinary(d) for d in documents])

    lines = os.path.join(os.path.dirname(corpus), "ids")
    with open(lines, "w") as file:  # ids of whole documents, through the command line, one by one for a sample
        sample = documents[:: max(1, len(documents) // 200)]
        same = 0
        for document in sample:
            out = subprocess.run([args.triax, "tokenizer", "encode", "-t", args.tokenizer], input=document.encode(),
                                 check=True, capture_output=True).stdout
            same += [int(i) for i in out.split()] == hugging_face.encode(document, add_special_tokens=False).ids
            file.write(out.decode())
    speed = ours["encode_mb_per_s"]
    print(f"encoding {megabytes:.1f} MB in {len(documents)} paragraphs, one thread, GPT-2 vocabulary, processor time")
    print(f"  triax       {speed:8.1f} MB/s")
    print(f"  tokenizers  {megabytes / hf_seconds:8.1f} MB/s   triax is {speed * hf_seconds / megabytes:.1f} x")
    print(f"  tiktoken    {megabytes / tik_seconds:8.1f} MB/s   triax is {speed * tik_seconds / megabytes:.1f} x")
    print(f"  ids: {ours['tokens']} triax, {sum(map(len, hf_ids))} tokenizers, {sum(map(len, tik_ids))} tiktoken;"
          f" {same} of {len(sample)} sampled documents equal")
    return same == len(sample) and ours["tokens"] == sum(map(len, hf_ids))


def merges_of(path):
    with open(path, encoding="utf-8") as file:
        merges = json.load(file)["model"]["merges"]
    return [m if isinstance(m, str) else " ".join(m) for m in merges]


def compare_training(args, documents, corpus, folder):
    def cpu_seconds(who):
        usage = resource.getrusage(who)
        return usage.ru_utime + usage.ru_stime

    start, cpu_start = time.perf_counter(), cpu_seconds(resource.RUSAGE_CHILDREN)
    subprocess.run([args.triax, "tokenizer", "train", "--vocab-size", str(args.vocab_size), "-o", folder, corpus], check=True,
                   capture_output=True)
    ours, ours_cpu = time.perf_counter() - start, cpu_seconds(resource.RUSAGE_CHILDREN) - cpu_start
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    start, cpu_start = time.perf_counter(), cpu_seconds(resource.RUSAGE_SELF)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(documents, trainers.BpeTrainer(
        vocab_size=args.vocab_size, min_frequency=2, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    theirs, theirs_cpu = time.perf_counter() - start, cpu_seconds(resource.RUSAGE_SELF) - cpu_start
    tokenizer.save(os.path.join(folder, "theirs.json"))
    same = merges_of(os.path.join(folder, "tokenizer.json")) == merges_of(os.path.join(folder, "theirs.json"))
    print(f"learning {args.vocab_size} tokens, {os.cpu_count()} cores")
    print(f"  triax       {ours:8.2f} s, {ours_cpu:.2f} s of processor time (reading and writing files included)")
    print(f"  tokenizers  {theirs:8.2f} s, {theirs_cpu:.2f} s   triax is {theirs / ours:.1f} x, {theirs_cpu / ours_cpu:.1f} x")
    print(f"  merges {'equal' if same else 'DIFFERENT'}")
    return same


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--triax", default="build/triax")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    print(f"tokenizers {tokenizers.__version__}, tiktoken {tiktoken.__version__}")
    documents = read_paragraphs(args.files)
    with tempfile.TemporaryDirectory() as folder:
        corpus = os.path.join(folder, "corpus.jsonl")
        with open(corpus, "w", encoding="utf-8") as file:
            for document in documents:
                file.write(json.dumps({"text": document}, ensure_ascii=False) + "\n")
        good = compare_encoding(args, documents, corpus)
        good = compare_training(args, documents, corpus, folder) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
