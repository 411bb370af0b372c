#!/usr/bin/env python3
"""Compares triax's tokenizers with Hugging Face `tokenizers`, tiktoken and sentencepiece, in one run on one machine:
speed of encoding on one thread and on all, equality of the ids, and time and memory to learn byte-level BPE vocabularies
and equality of the merges.

    python bench/compare_tokenizers.py --triax build/triax --bpe gpt2 --wordpiece bert-uncased --unigram spiece.model \\
        --corpus corpus.jsonl prose.txt mixed.txt

`gpt2` is a folder with tokenizer.json, vocab.json and merges.txt; `bert-uncased` one with vocab.txt; each paragraph of the
texts is a document. `corpus.jsonl` (bench/make_corpus.py makes one) is what vocabularies are learned from. Needs the
Python packages tokenizers, tiktoken and sentencepiece, only here. Every measurement is a process of its own.
"""
import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time

GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


def read_paragraphs(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [part for part in re.split(r"\n{2,}", file.read()) if part.strip()]


def make_tiktoken(folder):
    """tiktoken's GPT-2 from the files at hand: ranks are the ids."""
    import tiktoken

    byte_of = {}
    codes = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    for byte in range(256):
        byte_of[chr(byte) if byte in codes else chr(256 + sum(b not in codes for b in range(byte)))] = byte
    with open(os.path.join(folder, "vocab.json"), encoding="utf-8") as file:
        vocab = json.load(file)
    special = {"<|endoftext|>": vocab.pop("<|endoftext|>")}
    ranks = {bytes(byte_of[c] for c in token): i for token, i in vocab.items()}
    return tiktoken.Encoding("gpt2-local", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens=special)


def encoder(kind, path, threads):
    if kind == "tiktoken":
        encoding = make_tiktoken(path)
        if threads == 1:
            return lambda documents: [encoding.encode_ordinary(d) for d in documents]
        return lambda documents: encoding.encode_ordinary_batch(documents, num_threads=threads)
    if kind == "sentencepiece":
        import sentencepiece

        processor = sentencepiece.SentencePieceProcessor(model_file=path)
        return lambda documents: processor.encode(documents, num_threads=threads)
    from tokenizers import BertWordPieceTokenizer, Tokenizer

    if kind == "wordpiece":
        lowercase = "uncased" in path
        tokenizer = BertWordPieceTokenizer(os.path.join(path, "vocab.txt"), lowercase=lowercase)._tokenizer
    else:
        tokenizer = Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
    return lambda documents: [e.ids for e in tokenizer.encode_batch_fast(documents, add_special_tokens=False)]


def ids_digest(ids):
    digest = hashlib.sha256()
    for each in ids:
        digest.update((" ".join(map(str, each)) + "\n").encode())
    return digest.hexdigest()


def worker_encode(kind, path, text, threads, rounds):
    documents = read_paragraphs(text)
    encode = encoder(kind, path, threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    best = float("inf")
    for _ in range(rounds):
        start = clock()
        ids = encode(documents)
        best = min(best, clock() - start)
    megabytes = sum(len(d.encode()) for d in documents) / 1e6
    print(json.dumps({"encode_mb_per_s": megabytes / best, "tokens": sum(map(len, ids)), "digest": ids_digest(ids)}))


def worker_train(corpus, vocab_size, output):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    def documents():
        with open(corpus, encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)["text"]

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(documents(), trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=2, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.save(output)


def run(command, parallel=False):
    """Output, wall time, processor time and largest memory of a process."""
    environment = dict(os.environ, TOKENIZERS_PARALLELISM="true" if parallel else "false")
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"failed: {' '.join(command)}")
    return out, time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def me(*arguments):
    return [sys.executable, os.path.abspath(__file__), "--worker", *map(str, arguments)]


def our_digest(triax, tokenizer, text, folder):
    """Ids of the same documents through the command line."""
    lines = os.path.join(folder, "documents")
    os.makedirs(lines, exist_ok=True)
    paths = []
    for i, document in enumerate(read_paragraphs(text)):
        paths.append(os.path.join(lines, str(i)))
        with open(paths[-1], "w", encoding="utf-8", newline="") as file:
            file.write(document)
    digest = hashlib.sha256()
    for i in range(0, len(paths), 2000):
        digest.update(subprocess.run([triax, "tokenizer", "encode", "-t", tokenizer, *paths[i:i + 2000]], check=True,
                                     capture_output=True).stdout)
    for path in paths:
        os.remove(path)
    return digest.hexdigest()


def compare_encoding(args, text, tokenizer, others, folder):
    documents = read_paragraphs(text)
    corpus = os.path.join(folder, "documents.jsonl")
    with open(corpus, "w", encoding="utf-8") as file:
        for document in documents:
            file.write(json.dumps({"text": document}, ensure_ascii=False) + "\n")
    size = sum(len(d.encode()) for d in documents) / 1e6
    digest = our_digest(args.triax, tokenizer, text, folder)
    good = True
    for threads in (1, os.cpu_count()):
        command = [args.triax, "tokenizer", "bench", "-t", tokenizer, "--rounds", str(args.rounds), "--threads", str(threads), corpus]
        ours = json.loads(run(command)[0])
        print(f"{os.path.basename(os.path.normpath(tokenizer))}, {os.path.basename(text)}, {size:.1f} MB, {threads} thread"
              f"{'s (wall time)' if threads > 1 else ' (processor time)'}: triax {ours['encode_mb_per_s']:.1f} MB/s")
        for kind in others:
            theirs = json.loads(run(me("encode", kind, tokenizer, text, threads, args.rounds), threads > 1)[0])
            ratio = ours["encode_mb_per_s"] / theirs["encode_mb_per_s"]
            same = theirs["digest"] == digest
            good = good and same
            print(f"  {'tokenizers' if kind in ('bpe', 'wordpiece') else kind:13} {theirs['encode_mb_per_s']:7.2f} MB/s, triax is "
                  f"{ratio:.1f} x; ids {'equal' if same else 'DIFFERENT'}")
    return good


def merges_of(path):
    with open(path, encoding="utf-8") as file:
        merges = json.load(file)["model"]["merges"]
    return [m if isinstance(m, str) else " ".join(m) for m in merges]


def compare_training(args, folder):
    good = True
    for vocab_size in args.vocab_sizes:
        ours = os.path.join(folder, "ours")
        theirs = os.path.join(folder, "theirs.json")
        _, wall, cpu, memory = run([args.triax, "tokenizer", "train", "--vocab-size", str(vocab_size), "-o", ours, args.corpus])
        _, their_wall, their_cpu, their_memory = run(me("train", args.corpus, vocab_size, theirs), True)
        same = merges_of(os.path.join(ours, "tokenizer.json")) == merges_of(theirs)
        good = good and same
        print(f"learning {vocab_size} tokens from {os.path.getsize(args.corpus) / 1e6:.0f} MB, {os.cpu_count()} cores, reading included")
        print(f"  triax       {wall:6.1f} s, {cpu:6.1f} s of processor time, {memory:5.0f} MiB")
        print(f"  tokenizers  {their_wall:6.1f} s, {their_cpu:6.1f} s, {their_memory:5.0f} MiB: triax is {their_wall / wall:.1f} x as fast, "
              f"{their_cpu / cpu:.1f} x by processor time; merges {'equal' if same else 'DIFFERENT'}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--triax", default="build/triax")
    parser.add_argument("--bpe", help="folder of a byte-level BPE")
    parser.add_argument("--wordpiece", action="append", default=[], help="folder with vocab.txt")
    parser.add_argument("--unigram", help=".model of SentencePiece")
    parser.add_argument("--corpus", help="JSON lines to learn from")
    parser.add_argument("--vocab-sizes", type=int, nargs="*", default=[8192, 50257])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("texts", nargs="*")
    args = parser.parse_args()
    import sentencepiece
    import tiktoken
    import tokenizers

    print(f"tokenizers {tokenizers.__version__}, tiktoken {tiktoken.__version__}, sentencepiece {sentencepiece.__version__}")
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for text in args.texts:
            if args.bpe:
                good = compare_encoding(args, text, args.bpe, ["bpe", "tiktoken"], folder) and good
            for path in args.wordpiece:
                good = compare_encoding(args, text, path, ["wordpiece"], folder) and good
            if args.unigram:
                good = compare_encoding(args, text, args.unigram, ["sentencepiece"], folder) and good
        if args.corpus:
            good = compare_training(args, folder) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    if sys.argv[1:3] == ["--worker", "encode"]:
        worker_encode(sys.argv[3], sys.argv[4], sys.argv[5], int(sys.argv[6]), int(sys.argv[7]))
    elif sys.argv[1:3] == ["--worker", "train"]:
        worker_train(sys.argv[3], int(sys.argv[4]), sys.argv[5])
    else:
        main()
