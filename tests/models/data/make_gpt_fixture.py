#!/usr/bin/env python3
"""Makes gpt_fixture.safetensors: a tiny GPT written in plain PyTorch (in double precision), its
weights, logits, every gradient and ten AdamW losses, for the parity tests of models and train. Needs
torch and safetensors; run it only to change the fixture:  python3 tests/models/data/make_gpt_fixture.py
"""
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

V, S, H, L, A, B = 61, 24, 32, 3, 4, 3
LR, B1, B2, EPS, WD, CLIP = 1e-2, 0.9, 0.95, 1e-8, 0.1, 1.0
torch.manual_seed(0)
g = torch.Generator().manual_seed(42)


def normal(*shape, std):
    return (torch.randn(*shape, generator=g, dtype=torch.float64) * std).float().double()


params = {"embedding.token": normal(V, H, std=0.1), "embedding.position": normal(S, H, std=0.1)}
for i in range(L):
    p = f"layers.{i}."
    params[p + "attention_norm.weight"] = 1 + normal(H, std=0.1)
    params[p + "attention_norm.bias"] = normal(H, std=0.1)
    params[p + "qkv.weight"] = normal(3, A, H // A, H, std=0.15)
    params[p + "qkv.bias"] = normal(3, A, H // A, std=0.1)
    params[p + "attention_output.weight"] = normal(H, H, std=0.15)
    params[p + "attention_output.bias"] = normal(H, std=0.1)
    params[p + "mlp_norm.weight"] = 1 + normal(H, std=0.1)
    params[p + "mlp_norm.bias"] = normal(H, std=0.1)
    params[p + "mlp_up.weight"] = normal(4 * H, H, std=0.15)
    params[p + "mlp_up.bias"] = normal(4 * H, std=0.1)
    params[p + "mlp_down.weight"] = normal(H, 4 * H, std=0.15)
    params[p + "mlp_down.bias"] = normal(H, std=0.1)
params["final_norm.weight"] = 1 + normal(H, std=0.1)
params["final_norm.bias"] = normal(H, std=0.1)
params = {k: v.float().double().requires_grad_(True) for k, v in params.items()}  # double: the reference
decayed = [k for k in params if k.startswith("embedding") or (k.endswith(".weight") and "norm" not in k)]

tokens = torch.randint(0, V, (B, S), generator=g)
targets = torch.randint(0, V, (B, S), generator=g)


def logits_of(p):
    x = p["embedding.token"][tokens] + p["embedding.position"][torch.arange(S)]
    for i in range(L):
        q = f"layers.{i}."
        y = F.layer_norm(x, (H,), p[q + "attention_norm.weight"], p[q + "attention_norm.bias"])
        qkv = y @ p[q + "qkv.weight"].reshape(3 * H, H).T + p[q + "qkv.bias"].reshape(-1)
        qh, kh, vh = qkv.view(B, S, 3, A, H // A).permute(2, 0, 3, 1, 4)
        scores = qh @ kh.transpose(-1, -2) / (H // A) ** 0.5
        scores = scores.masked_fill(torch.ones(S, S).triu(1).bool(), float("-inf"))
        att = (scores.softmax(-1) @ vh).permute(0, 2, 1, 3).reshape(B, S, H)
        x = x + att @ p[q + "attention_output.weight"].T + p[q + "attention_output.bias"]
        y = F.layer_norm(x, (H,), p[q + "mlp_norm.weight"], p[q + "mlp_norm.bias"])
        y = F.gelu(y @ p[q + "mlp_up.weight"].T + p[q + "mlp_up.bias"], approximate="tanh")
        x = x + y @ p[q + "mlp_down.weight"].T + p[q + "mlp_down.bias"]
    x = F.layer_norm(x, (H,), p["final_norm.weight"], p["final_norm.bias"])
    return x @ p["embedding.token"].T


def loss_of(p):
    return F.cross_entropy(logits_of(p).reshape(-1, V), targets.reshape(-1))


out = {"tokens": tokens.int(), "targets": targets.int()}
for k, v in params.items():
    out["weight." + k] = v.detach().float()
logits = logits_of(params)
out["logits"] = logits.detach().float()
loss_of(params).backward()
for k, v in params.items():
    out["grad." + k] = v.grad.float()
    v.grad = None

optimizer = torch.optim.AdamW(
    [{"params": [params[k] for k in decayed], "weight_decay": WD},
     {"params": [params[k] for k in params if k not in decayed], "weight_decay": 0.0}],
    lr=LR, betas=(B1, B2), eps=EPS)
losses, norms = [], []
for _ in range(10):
    optimizer.zero_grad()
    loss = loss_of(params)
    loss.backward()
    norms.append(float(torch.nn.utils.clip_grad_norm_(params.values(), CLIP)))
    optimizer.step()
    losses.append(float(loss))
out["losses"] = torch.tensor(losses).float()
out["norms"] = torch.tensor(norms).float()

save_file({k: v.contiguous() for k, v in out.items()}, pathlib.Path(__file__).with_name("gpt_fixture.safetensors"))
print(losses)
