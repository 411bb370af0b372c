#!/usr/bin/env python3
"""Steps of BERT-base pretraining, triax beside transformers, in rounds that alternate so that both see the same machine.

    python bench/compare_bert_pretraining.py build/triax [--rounds 3] [--seconds 20] [--threads 2]

fp32, 16 sequences of 128, no dropout, AdamW, clipping, 15 % of the tokens masked. transformers computes the logits of all
tokens, as its BertForPreTraining does. Needs torch and transformers.
"""
import argparse
import os
import re
import subprocess
import time

import torch
from transformers import BertConfig, BertForPreTraining

BATCH, LENGTH, VOCABULARY, MASKED = 16, 128, 30522, 0.15


def triax_rate(program, seconds, threads):
    command = [program, "bench", "train", "--kind", "bert", "--post-norm", "--vocab-size", str(VOCABULARY), "--sequence-length",
               str(LENGTH), "--micro-batch-size", str(BATCH), "--seconds", str(seconds), "--no-peak"]
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=dict(os.environ, OMP_NUM_THREADS=str(threads))).stdout
    return float(re.search(r"throughput\s+(\d+)", out).group(1))


class PyTorch:
    def __init__(self):
        torch.manual_seed(1)
        config = BertConfig(vocab_size=VOCABULARY, hidden_dropout_prob=0, attention_probs_dropout_prob=0)
        self.model = BertForPreTraining(config).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.tokens = torch.randint(VOCABULARY, (BATCH, LENGTH))
        self.labels = torch.where(torch.rand(BATCH, LENGTH) < MASKED, self.tokens, -100)
        self.order = torch.zeros(BATCH, dtype=torch.long)
        self.step()

    def step(self):
        self.optimizer.zero_grad()
        self.model(input_ids=self.tokens, labels=self.labels, next_sentence_label=self.order).loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def rate(self, seconds):
        steps, begin = 0, time.time()
        while time.time() - begin < seconds or steps < 3:
            self.step()
            steps += 1
        return steps * BATCH * LENGTH / (time.time() - begin)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pytorch = PyTorch()
    print(f"PyTorch {torch.__version__}, {args.threads} threads, tokens/s")
    for _ in range(args.rounds):
        ours, theirs = triax_rate(args.program, args.seconds, args.threads), pytorch.rate(args.seconds)
        print(f"triax {ours:.0f}  PyTorch {theirs:.0f}  ratio {ours / theirs:.2f}", flush=True)


if __name__ == "__main__":
    main()
