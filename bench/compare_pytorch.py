#!/usr/bin/env python3
"""Trains the same GPT with triax and with PyTorch (whatever version this Python has), side by side, and
prints the ratio of their throughputs.

    bench/compare_pytorch.py                        # the two models of docs/performance.md
    bench/compare_pytorch.py --model small --compile
    bench/compare_pytorch.py --triax build/triax --threads 2 --rounds 3
    bench/compare_pytorch.py --device cuda          # bf16, compiled, models for a GPU; every attention of triax's

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
GPU_MODELS = {
    "gpt2-124m": dict(vocab=50304, hidden=768, layers=12, heads=12, seq=1024, batch=16),
    "gpt2-1.5b": dict(vocab=50304, hidden=1600, layers=48, heads=25, seq=1024, batch=8),
    # layers of the 6.7 B model of GPT-3's table, as many as leave room on one GPU
    "gpt3-6.7b-layers": dict(vocab=50304, hidden=4096, layers=8, heads=32, seq=2048, batch=4),
}


def triax_round(args, m, attention):
    command = [args.triax, "bench", "train", "--vocab-size", m["vocab"], "--hidden-size", m["hidden"],
               "--num-layers", m["layers"], "--num-heads", m["heads"], "--sequence-length", m["seq"],
               "--micro-batch-size", m["batch"], "--seconds", args.seconds, "--precision", args.precision,
               "--device", args.device]
    if args.device == "cuda":
        command += ["--attention", attention]
    env = dict(os.environ, OMP_NUM_THREADS=str(args.threads))
    text = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True, env=env).stdout
    return float(re.search(r"throughput\s+([\d.]+)", text)[1]), float(re.search(r"MFU\s+([\d.]+)", text)[1])


def make_pytorch(m, args):
    import torch
    import torch.nn as nn
    import torch.nn.functional as F

    torch.set_num_threads(args.threads)
    torch.set_default_device(args.device)
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
        with torch.autocast(args.device, dtype=torch.bfloat16, enabled=args.precision == "bf16"):
            loss = run(tokens, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return torch.__version__, step


def pytorch_round(step, m, args):
    def wait():
        if args.device == "cuda":
            import torch
            torch.cuda.synchronize()

    for _ in range(3 if args.device == "cuda" else 1):
        step()
    wait()
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < float(args.seconds) or count < 3:
        step()
        wait()
        count += 1
    return m["batch"] * m["seq"] * count / (time.perf_counter() - begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted({*MODELS, *GPU_MODELS, "all"}), default="all")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--triax", default="build/triax")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", default="8", help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=["fp32", "bf16"], help="default: fp32, on a GPU bf16")
    parser.add_argument("--compile", action="store_true", default=None,
                        help="torch.compile the PyTorch model (default: on a GPU)")
    args = parser.parse_args()
    on_gpu = args.device == "cuda"
    args.precision = args.precision or ("bf16" if on_gpu else "fp32")
    args.compile = on_gpu if args.compile is None else args.compile
    if on_gpu:
        import torch
        if not torch.cuda.is_available():
            parser.error(f"--device cuda: PyTorch {torch.__version__} finds no GPU here")
    models = GPU_MODELS if on_gpu else MODELS
    if args.model != "all" and args.model not in models:
        parser.error(f"--model {args.model} with --device {args.device}: one of {', '.join(models)}")
    for name in models if args.model == "all" else [args.model]:
        compare(name, models[name], args)


def release_memory(args):
    """PyTorch keeps what it no longer uses; the other program may need it."""
    if args.device == "cuda":
        import torch
        torch.cuda.empty_cache()


def compare(name, m, args):
    version, step = make_pytorch(m, args)
    # cuDNN's attention is for 16 bits.
    attentions = ["own", "cudnn", "cudnn_fast"] if args.device == "cuda" and args.precision == "bf16" else ["own"]
    ours, shares, theirs = dict.fromkeys(attentions, 0.0), dict.fromkeys(attentions, 0.0), 0.0
    for _ in range(args.rounds):
        for attention in attentions:
            release_memory(args)
            speed, share = triax_round(args, m, attention)
            ours[attention], shares[attention] = max(ours[attention], speed), max(shares[attention], share)
        theirs = max(theirs, pytorch_round(step, m, args))
    kind = "compiled" if args.compile else "eager"
    where = "GPU" if args.device == "cuda" else f"{args.threads} threads"
    for attention in attentions:
        which = f" {attention} attention" if len(attentions) > 1 else ""
        print(f"{name:10s} {args.precision} {where}: triax{which} {ours[attention]:8.0f} tokens/s (MFU {shares[attention]:.1f} %), "
              f"PyTorch {version} {kind} {theirs:8.0f} tokens/s, ratio {ours[attention] / theirs:.2f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
