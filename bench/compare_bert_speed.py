#!/usr/bin/env python3
"""BERT with triax and with PyTorch (transformers, whatever versions this Python has): throughput of fine-tuning steps
on random tokens, and of prediction over a file of named entities. Rounds of the two alternate, so that a noisy
machine is noisy for both; the best round of each counts.

    bench/compare_bert_speed.py                                       # BERT-base, 128 tokens, batches of 16
    bench/compare_bert_speed.py --predict runs/ner/seed-1/best test.tsv

Prediction: `triax predict` does all there is to do, from the files to the predictions; PyTorch's time is that of its
loop over sentences that are cut into tokens already, in the order of the file, and sorted by length.
"""
import argparse
import os
import re
import subprocess
import sys
import time


def triax_training(args):
    command = [args.triax, "bench", "finetune", "--hidden-size", args.hidden_size, "--num-layers", args.num_layers, "--num-heads", args.num_heads,
               "--sequence-length", args.sequence_length, "--batch-size", args.batch_size, "--seconds", args.seconds]
    text = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True, env=dict(os.environ, OMP_NUM_THREADS=str(args.threads))).stdout
    return float(re.search(r"training\s+([\d.]+)", text)[1]), float(re.search(r"MFU\s+([\d.]+)", text)[1])


def pytorch_training(args):
    import torch
    import transformers
    torch.set_num_threads(args.threads)
    config = transformers.BertConfig(hidden_size=args.hidden_size, num_hidden_layers=args.num_layers, num_attention_heads=args.num_heads,
                                     intermediate_size=4 * args.hidden_size)
    model = transformers.BertForSequenceClassification(config)
    model.train()
    try:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    except Exception:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    shape = (args.batch_size, args.sequence_length)
    tokens, labels = torch.randint(0, config.vocab_size, shape), torch.randint(0, 2, (args.batch_size,))
    run = torch.compile(model) if args.compile else model

    def step():
        optimizer.zero_grad(set_to_none=True)
        run(input_ids=tokens, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    def round_of_steps():
        step()
        count, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < args.seconds or count < 3:
            step()
            count += 1
        return shape[0] * shape[1] * count / (time.perf_counter() - begin)
    return f"{torch.__version__.split('+')[0]} {'compiled' if args.compile else 'eager'}", round_of_steps


def compare_training(args):
    version, pytorch = pytorch_training(args)
    ours, theirs, mfu = 0.0, 0.0, 0.0
    for _ in range(args.rounds):
        speed, share = triax_training(args)
        ours, mfu = max(ours, speed), max(mfu, share)
        theirs = max(theirs, pytorch())
    print(f"training, {args.num_layers} layers of {args.hidden_size}, s {args.sequence_length}, batch {args.batch_size}, fp32, {args.threads} threads: "
          f"triax {ours:.0f} tokens/s (MFU {mfu:.1f} %), PyTorch {version} {theirs:.0f} tokens/s, ratio {ours / theirs:.2f}", flush=True)


def compare_prediction(args):
    import torch
    import transformers
    torch.set_num_threads(args.threads)
    folder, path = args.predict
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.BertForTokenClassification.from_pretrained(folder)
    model.eval()
    if args.precision == "bf16":
        model.to(torch.bfloat16)
    blocks = open(path, encoding="utf-8").read().strip("\n").split("\n\n")
    words = [[line.split("\t")[0] for line in block.split("\n")] for block in blocks]
    encoded = [e for e in tokenizer(words, is_split_into_words=True, truncation=True, max_length=args.max_length)["input_ids"]]

    # Of this process and its children: with one thread what they would take on an idle machine.
    clock = (lambda: sum(os.times()[:4])) if args.processor_time else time.perf_counter

    def pytorch(sequences):
        begin = clock()
        with torch.no_grad():
            for at in range(0, len(sequences), args.batch_size):
                batch = sequences[at:at + args.batch_size]
                longest = max(map(len, batch))
                ids = torch.tensor([s + [0] * (longest - len(s)) for s in batch])
                mask = torch.tensor([[1] * len(s) + [0] * (longest - len(s)) for s in batch])
                model(input_ids=ids, attention_mask=mask).logits.argmax(-1).tolist()
        return clock() - begin

    def triax(tokens):
        begin = clock()
        text = subprocess.run([args.triax, "predict", folder, path, "--tokens", str(tokens), "--precision", args.precision], capture_output=True, check=True,
                              env=dict(os.environ, OMP_NUM_THREADS=str(args.threads))).stdout
        return clock() - begin, text
    times, outputs = {"triax": 1e9, "in order": 1e9, "sorted": 1e9}, set()
    for tokens in [4096, 1024, 256][:args.rounds] + [4096] * (args.rounds - 3):
        seconds, text = triax(tokens)
        outputs.add(text)
        if tokens == 4096:
            times["triax"] = min(times["triax"], seconds)
        times["in order"] = min(times["in order"], pytorch(encoded))
        times["sorted"] = min(times["sorted"], pytorch(sorted(encoded, key=len)))
    print(f"prediction of {len(words)} sentences, {args.precision}, {args.threads} threads{', processor time' if args.processor_time else ''}: triax {times['triax']:.1f} s; PyTorch {torch.__version__.split('+')[0]}, batches of {args.batch_size}: "
          f"{times['in order']:.1f} s, ratio {times['in order'] / times['triax']:.2f}; sorted by length {times['sorted']:.1f} s, ratio {times['sorted'] / times['triax']:.2f}; "
          + (f"predictions with different --tokens are {'the same' if len(outputs) == 1 else 'DIFFERENT'}" if args.rounds > 1 else ""), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--triax", default="build/triax")
    parser.add_argument("--predict", nargs=2, metavar=("MODEL", "FILE.tsv"), help="prediction instead of training")
    parser.add_argument("--hidden-size", type=int, default=768)
    parser.add_argument("--num-layers", type=int, default=12)
    parser.add_argument("--num-heads", type=int, default=12)
    parser.add_argument("--sequence-length", type=int, default=128)
    parser.add_argument("--max-length", type=int, default=512, help="of sentences")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=15, help="of each round of training")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of prediction, of both programs")
    parser.add_argument("--processor-time", action="store_true", help="of prediction, in place of the time that passes; with --threads 1")
    parser.add_argument("--compile", action="store_true", help="torch.compile the PyTorch model")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    compare_prediction(args) if args.predict else compare_training(args)


if __name__ == "__main__":
    sys.exit(main())
