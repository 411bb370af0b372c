#!/usr/bin/env python3
"""Makes hf_bert/: tiny BERTs of transformers with each head, and what PyTorch computes of them.

For every head a folder with config.json and model.safetensors; expected.safetensors with the batch, the
logits and the loss; and gradients/, a model directory whose "weights" are the gradients of the loss. All of
it in double precision, with padding and attention mask; padded positions take no part in the loss.
Needs torch and transformers; run it only to change the fixture:  python3 make_hf_bert.py
"""
import json
import pathlib
import shutil

import torch
import torch.nn.functional as F
import transformers as hf
from safetensors.torch import save_file

here = pathlib.Path(__file__).parent / "hf_bert"
torch.manual_seed(0)
lengths, s, V, h = [7, 4, 9, 2], 9, 31, 16
common = dict(vocab_size=V, hidden_size=h, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
              max_position_embeddings=12, type_vocab_size=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
              attn_implementation="eager")
g = torch.Generator().manual_seed(5)
tokens = torch.randint(1, V, (4, s), generator=g)
types = torch.zeros(4, s, dtype=torch.long)
mask = torch.zeros(4, s, dtype=torch.long)
for i, n in enumerate(lengths):
    mask[i, :n] = 1
    types[i, n // 2:n] = 1
real = mask.bool()


def ce(logits, labels, weights):
    return (F.cross_entropy(logits, labels, reduction="none") * weights).sum()


def tokens_loss(out):
    labels = torch.randint(0, 5, (int(real.sum()),), generator=torch.Generator().manual_seed(1))
    weights = torch.rand(len(labels), dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weights[3] = 0
    logits = out.logits[real]
    return logits, ce(logits, labels, weights), {"labels": labels, "weights": weights}


def sequence_loss(out):
    labels, weights = torch.tensor([2, 0, 1, 1]), torch.tensor([0.1, 0.4, 0.3, 0.2], dtype=torch.float64)
    return out.logits, ce(out.logits, labels, weights), {"labels": labels, "weights": weights}


def regression_loss(out):
    values, weights = torch.tensor([0.5, -1, 2, 0], dtype=torch.float64), torch.full((4,), 0.25, dtype=torch.float64)
    return out.logits, (weights * (out.logits[:, 0] - values) ** 2).sum(), {"values": values, "weights": weights}


def choice_loss(out):  # two questions of two choices
    labels, weights = torch.tensor([1, 0]), torch.tensor([0.5, 0.5], dtype=torch.float64)
    return out.logits.reshape(4, 1), ce(out.logits, labels, weights), {"labels": labels, "weights": weights}


def spans_loss(out):
    starts, ends = torch.tensor([2, 0, 8, 1]), torch.tensor([4, 0, 8, 1])
    weights = torch.tensor([0.1, 0.4, 0.3, 0.2], dtype=torch.float64)
    a = out.start_logits.masked_fill(~real, float("-inf"))
    b = out.end_logits.masked_fill(~real, float("-inf"))
    loss = 0.5 * (ce(a, starts, weights) + ce(b, ends, weights))
    first = torch.tensor([0] + lengths[:-1]).cumsum(0)
    return torch.stack([out.start_logits[real], out.end_logits[real]], -1), loss, {"starts": starts + first, "ends": ends + first, "weights": weights}


def pretraining_loss(out):
    rows = torch.tensor([1, 5, 8, 13, 21])
    labels = torch.tensor([3, 7, 7, 30, 0])
    weights = torch.full((5,), 0.2, dtype=torch.float64)
    order = torch.tensor([0, 1, 1, 0])
    logits = out.prediction_logits[real][rows]
    loss = ce(logits, labels, weights) + F.cross_entropy(out.seq_relationship_logits, order)
    return logits, loss, {"labels": labels, "weights": weights, "masked": rows, "order": order, "order_logits": out.seq_relationship_logits}


heads = {
    "tokens": (hf.BertForTokenClassification, hf.BertConfig, dict(num_labels=5), tokens_loss),
    "sequence": (hf.BertForSequenceClassification, hf.BertConfig, dict(num_labels=3, hidden_act="gelu_new"), sequence_loss),
    "regression": (hf.BertForSequenceClassification, hf.BertConfig, dict(num_labels=1), regression_loss),
    "choice": (hf.BertForMultipleChoice, hf.BertConfig, {}, choice_loss),
    "spans": (hf.BertForQuestionAnswering, hf.BertConfig, {}, spans_loss),
    "pretraining": (hf.BertForPreTraining, hf.BertConfig, {}, pretraining_loss),
    "megatron": (hf.MegatronBertForPreTraining, hf.MegatronBertConfig, {}, pretraining_loss),
}
for name, (kind, config_kind, options, loss_of) in heads.items():
    folder = here / name
    shutil.rmtree(folder, ignore_errors=True)
    model = kind(config_kind(**common, **options)).double().eval()
    with torch.no_grad():  # away from the symmetric start, and exact in f32
        for p in model.parameters():
            p.copy_((p + 0.15 * torch.randn(p.shape, generator=g, dtype=torch.float64)).float().double())
    shaped = lambda x: x.view(2, 2, s) if name == "choice" else x
    logits, loss, extra = loss_of(model(input_ids=shaped(tokens), attention_mask=shaped(mask), token_type_ids=shaped(types)))
    loss.backward()
    gradients = {n: (p.grad if p.grad is not None else torch.zeros_like(p)).float() for n, p in model.named_parameters()}
    copy = lambda x: (x.int() if x.dtype == torch.long else x.float()).detach().clone().contiguous()
    model.float().save_pretrained(folder)
    for extra_file in folder.iterdir():
        if extra_file.name not in ("config.json", "model.safetensors"):
            extra_file.unlink()
    (folder / "gradients").mkdir()
    shutil.copy(folder / "config.json", folder / "gradients")
    save_file({n: t.contiguous() for n, t in gradients.items()}, folder / "gradients" / "model.safetensors")
    positions = torch.arange(s).expand(4, s)
    save_file({"tokens": copy(tokens[real]), "types": copy(types[real]), "positions": copy(positions[real]), "lengths": torch.tensor(lengths).int(),
               "logits": copy(logits), "loss": copy(loss.reshape(1)), **{k: copy(v) for k, v in extra.items()}}, folder / "expected.safetensors")
