#!/usr/bin/env python3
"""Trains the same GPT with triax and with PyTorch (whatever version this Python has), side by side, and
prints the ratio of their throughputs.

    bench/compare_pytorch.py                        # the two models of docs/performance.md
    bench/compare_pytorch.py --model small --compile
    bench/compare_pytorch.py --triax build/triax --threads 2 --rounds 3

The PyTorch side is what a careful user writes: fused attention (scaled_dot_product_attention), fused
QKV, tanh GeLU, fused AdamW where the version has it, gradient clipping, tied head. Rounds of the two
programs alternate, so that a noisy machine is noisy for both; the best round of each counts.
"""
import argparse
import os
import re
import subprocess
import sys
import time

MODELS = {
    "small": dict(vocab=8192, hidden=384, layers=6, heads=6, seq=256, batch=16),
    "gpt2-124m": dict(vocab=50304, hidden=768, layers=12, heads=12, seq=512, batch=4),
}


def triax_round(args, m):
    command = [args.triax, "bench", "train", "--vocab-size", m["vocab"], "--hidden-size", m["hidden"],
               "--num-layers", m["layers"], "--num-heads", m["heads"], "--sequence-length", m["seq"],
               "--micro-batch-size", m["batch"], "--seconds", args.seconds, "--precision", args.precision]
    env = dict(os.environ, OMP_NUM_THREADS=str(args.threads))
    text = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True, env=env).stdout
    return float(re.search(r"throughput\s+([\d.]+)", text)[1]), float(re.search(r"MFU\s+([\d.]+)", text)[1])


def make_pytorch(m, args):
    import torch
    import torch.nn as nn
    import torch.nn.functional as F

    torch.set_num_threads(args.threads)
    h, heads, seq = m["hidden"], m["heads"], m["seq"]

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln1, self.ln2 = nn.LayerNorm(h), nn.LayerNorm(h)
            self.qkv, self.proj = nn.Linear(h, 3 * h), nn.Linear(h, h)
            self.up, self.down = nn.Linear(h, 4 * h), nn.Linear(4 * h, h)

        def forward(self, x):
            b, s, _ = x.shape
            q, k, v = self.qkv(self.ln1(x)).split(h, dim=2)
            q, k, v = (t.view(b, s, heads, h // heads).transpose(1, 2) for t in (q, k, v))
            if hasattr(F, "scaled_dot_product_attention"):
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            else:
                scores = (q @ k.transpose(-2, -1)) * (h // heads) ** -0.5
                mask = torch.ones(s, s, dtype=torch.bool).tril()
                y = scores.masked_fill(~mask, float("-inf")).softmax(-1) @ v
            x = x + self.proj(y.transpose(1, 2).reshape(b, s, h))
            return x + self.down(F.gelu(self.up(self.ln2(x)), approximate="tanh"))

    class Gpt(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.position = nn.Embedding(m["vocab"], h), nn.Embedding(seq, h)
            self.blocks = nn.ModuleList(Block() for _ in range(m["layers"]))
            self.norm = nn.LayerNorm(h)
            for p in self.parameters():
                if p.dim() > 1:
                    nn.init.normal_(p, std=0.02)

        def forward(self, tokens, targets):
            x = self.token(tokens) + self.position(torch.arange(tokens.shape[1]))
            for block in self.blocks:
                x = block(x)
            logits = self.norm(x) @ self.token.weight.T
            return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))

    model = Gpt()
    try:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        optimizer.zero_grad()
    except Exception:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    tokens = torch.randint(0, m["vocab"], (m["batch"], seq))
    targets = torch.randint(0, m["vocab"], (m["batch"], seq))
    run = torch.compile(model) if args.compile else model

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.precision == "bf16"):
            loss = run(tokens, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return torch.__version__, step


def pytorch_round(step, m, args):
    step()
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < float(args.seconds) or count < 3:
        step()
        count += 1
    return m["batch"] * m["seq"] * count / (time.perf_counter() - begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=[*MODELS, "all"], default="all")
    parser.add_argument("--triax", default="build/triax")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", default="8", help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--compile", action="store_true", help="torch.compile the PyTorch model")
    args = parser.parse_args()
    for name in MODELS if args.model == "all" else [args.model]:
        m = MODELS[name]
        version, step = make_pytorch(m, args)
        ours, theirs, mfu = 0.0, 0.0, 0.0
        for _ in range(args.rounds):
            speed, share = triax_round(args, m)
            ours, mfu = max(ours, speed), max(mfu, share)
            theirs = max(theirs, pytorch_round(step, m, args))
        kind = "compiled" if args.compile else "eager"
        print(f"{name:10s} {args.precision} {args.threads} threads: triax {ours:8.0f} tokens/s (MFU {mfu:.1f} %), "
              f"PyTorch {version} {kind} {theirs:8.0f} tokens/s, ratio {ours / theirs:.2f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
