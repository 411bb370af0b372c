#!/usr/bin/env python3
"""Writes hf_gpt2/: a random GPT-2 as transformers saves it, and ours.safetensors: its tensors under our names
and in our shapes, made by torch."""
import pathlib

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

folder = pathlib.Path(__file__).with_name("hf_gpt2")
torch.manual_seed(7)
config = GPT2Config(vocab_size=37, n_positions=6, n_embd=8, n_layer=2, n_head=2, n_inner=20, layer_norm_epsilon=1e-6,
                    activation_function="gelu", resid_pdrop=0.25, embd_pdrop=0.25, attn_pdrop=0.5, bos_token_id=36, eos_token_id=36)
model = GPT2LMHeadModel(config)
for parameter in model.parameters():
    torch.nn.init.normal_(parameter)
model.save_pretrained(folder)
(folder / "generation_config.json").unlink(missing_ok=True)

a, d, h = config.n_head, config.n_embd // config.n_head, config.n_embd
body = model.transformer
ours = {"embedding.token": body.wte.weight, "embedding.position": body.wpe.weight,
        "final_norm.weight": body.ln_f.weight, "final_norm.bias": body.ln_f.bias}
for i, block in enumerate(body.h):
    q, k, v = block.attn.c_attn.weight.split(h, dim=1)  # each [in, out]
    ours |= {f"layers.{i}.{name}": value for name, value in {
        "attention_norm.weight": block.ln_1.weight, "attention_norm.bias": block.ln_1.bias,
        "qkv.weight": torch.stack([m.t().reshape(a, d, h) for m in (q, k, v)]),
        "qkv.bias": torch.stack([b.reshape(a, d) for b in block.attn.c_attn.bias.split(h)]),
        "attention_output.weight": block.attn.c_proj.weight.t(), "attention_output.bias": block.attn.c_proj.bias,
        "mlp_norm.weight": block.ln_2.weight, "mlp_norm.bias": block.ln_2.bias,
        "mlp_up.weight": block.mlp.c_fc.weight.t(), "mlp_up.bias": block.mlp.c_fc.bias,
        "mlp_down.weight": block.mlp.c_proj.weight.t(), "mlp_down.bias": block.mlp.c_proj.bias}.items()}
save_file({name: value.detach().contiguous().clone() for name, value in ours.items()}, folder / "ours.safetensors")
