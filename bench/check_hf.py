#!/usr/bin/env python3
"""Checks `triax convert` against transformers, both ways, with small random GPT-2 models.

    bench/check_hf.py build/triax          (needs torch, transformers, safetensors)

A model saved by transformers (one file, shards, names without "transformer.", half precision) goes through
`--to triax`, then `--to hf`, and is loaded by transformers again: every tensor must be equal, the logits
too, and transformers must neither miss a tensor nor find one too many.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, GPT2Model, PreTrainedTokenizerFast
from tokenizers import Tokenizer, models, pre_tokenizers

triax = pathlib.Path(sys.argv[1]).resolve()


def convert(source, output, *options):
    subprocess.run([triax, "convert", source, output, *options], check=True, stdout=subprocess.DEVNULL)


def random_model(**changes):
    torch.manual_seed(5)
    settings = dict(vocab_size=301, n_positions=40, n_embd=48, n_layer=3, n_head=4, bos_token_id=300, eos_token_id=300)
    model = GPT2LMHeadModel(GPT2Config(**{**settings, **changes})).eval()
    for parameter in model.parameters():  # biases and norms away from 0 and 1
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def save_tokenizer(directory):
    vocabulary = {chr(ord("a") + i): i for i in range(26)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(directory)


def same(name, model, directory, dtype=torch.float32):
    loaded, info = GPT2LMHeadModel.from_pretrained(directory, output_loading_info=True, dtype=dtype)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
    tokens = torch.randint(0, model.config.vocab_size, (2, 17), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, theirs = loaded.eval()(tokens).logits, model.to(dtype)(tokens).logits
    assert torch.equal(ours, theirs), f"{name}: logits differ by {(ours - theirs).abs().max()}"
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value.to(dtype)), f"{name}: {key}"
    for key in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "activation_function", "layer_norm_epsilon",
                "bos_token_id", "eos_token_id", "resid_pdrop", "attn_pdrop"):
        assert getattr(loaded.config, key) == getattr(model.config, key), f"{name}: {key}"
    print(f"{name}: {len(model.state_dict())} tensors and the logits are equal")


with tempfile.TemporaryDirectory() as temporary:
    root = pathlib.Path(temporary)
    cases = {
        "one file": (random_model(), {}),
        "shards": (random_model(), {"max_shard_size": "40KB"}),
        "erf activation, own MLP width": (random_model(activation_function="gelu", n_inner=100, layer_norm_epsilon=1e-6), {}),
    }
    for name, (model, how) in cases.items():
        folder = root / name.replace(" ", "-").replace(",", "")
        model.save_pretrained(folder / "in", **how)
        assert (folder / "in/model.safetensors.index.json").exists() == bool(how)
        save_tokenizer(folder / "in")
        convert(folder / "in", folder / "triax", "--to", "triax")
        convert(folder / "triax", folder / "out", "--to", "hf")
        reference = model.config
        model.config.bos_token_id = model.config.eos_token_id = None  # not part of a checkpoint; no such token in the vocabulary
        same(name, model, folder / "out")
        convert(folder / "in", folder / "bf16", "--to", "hf", "--dtype", "bf16")
        model.config.bos_token_id = model.config.eos_token_id = 300
        same(name + ", straight to bf16", model, folder / "bf16", torch.bfloat16)
        assert len(AutoTokenizer.from_pretrained(folder / "out").encode("abc")) == 3
        if not how and model.config.n_inner is None:
            written, read = (folder / "out/model.safetensors").read_bytes(), (folder / "in/model.safetensors").read_bytes()
            assert written == read, "model.safetensors is not byte for byte what transformers wrote"
            print(f"{name}: model.safetensors is byte for byte that of transformers")

    # The hub's "gpt2": no prefix, mask buffers, half precision.
    model = random_model().half().float()
    folder = root / "base"
    folder.mkdir()
    tensors = {k.removeprefix("transformer."): v.half() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    for layer in range(3):
        tensors[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 40, 40).tril()
        tensors[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.save_pretrained(folder)
    convert(folder, root / "base-out", "--to", "hf")
    same("without prefix, f16, mask buffers", model, root / "base-out")
print("all equal")
