#!/usr/bin/env python3
"""Tunes the same checkpoint for the same tasks with triax and with transformers on PyTorch (whatever versions this
Python has): the same first weights of the head, records, order, windows, learning rates, decay, clipping and
dropout. Both write predictions in the benchmark's form, and `triax score` scores both. Without dropout there is no
chance in it, and the two learn the same thing step by step.

    bench/compare_finetune.py --model minilm --data ../shared/data --out compare
    bench/compare_finetune.py --model minilm --data ../shared/data --out compare --tasks ner qa --seeds 1 2 --dropout 0
    bench/compare_finetune.py --model minilm --data ../shared/data --out compare --tasks ner --full --micro-batches 4

The sets, as they are distributed: bc5cdr-chem/*.tsv, scicite/*.txt, chemprot/*.txt (JSON lines),
squad/train-v1.1.json and dev-v1.1.json. Parts of them are used (PARTS), so that each side takes minutes; with --full all
there is to train on and to test with. PyTorch pads a batch to its longest; --micro-batches cuts it, sorted by length, into
as many that are padded apart and whose gradients are summed, which is the same step with less padding.
"""
import argparse
import json
import math
import os
import random
import re
import subprocess
import sys
import time

SETTINGS = {  # of [train] and [data]; what is not named here is triax finetune's default
    "ner": dict(epochs=3, batch_size=16, learning_rate=2e-4, max_length=512),
    "classify": dict(epochs=2, batch_size=16, learning_rate=1e-4, max_length=128),
    "relation": dict(epochs=3, batch_size=16, learning_rate=2e-4, max_length=128),
    "qa": dict(epochs=2, batch_size=16, learning_rate=3e-4, max_length=384, stride=128),
}
PARTS = {"ner": (1500, 300, 4797), "classify": (1500, 300, 1861), "relation": (1500, 300, 1500), "qa": (1000, 100, 500)}
FILES = {"ner": ("bc5cdr-chem/train.tsv", "bc5cdr-chem/devel.tsv", "bc5cdr-chem/test.tsv"),
         "classify": ("scicite/train.txt", "scicite/dev.txt", "scicite/test.txt"),
         "relation": ("chemprot/train.txt", "chemprot/dev.txt", "chemprot/test.txt"),
         "qa": ("squad/train-v1.1.json", "squad/dev-v1.1.json", "squad/dev-v1.1.json")}
WARMUP, WEIGHT_DECAY, CLIP = 0.1, 0.01, 1.0
SCORE = {"ner": ["ner"], "classify": ["classify"], "relation": ["classify", "--chemprot"], "qa": ["squad"]}
NUMBER = {"ner": lambda s: s["overall"]["f1"], "classify": lambda s: s["accuracy"], "relation": lambda s: s["micro"]["f1"], "qa": lambda s: s["f1"]}
NAME = {"ner": "BC5CDR-chem, entity F1", "classify": "SciCite, accuracy", "relation": "ChemProt, micro F1 of the groups", "qa": "SQuAD 1.1, F1"}
GROUPS = {"UPREGULATOR": 3, "ACTIVATOR": 3, "INDIRECT-UPREGULATOR": 3, "DOWNREGULATOR": 4, "INHIBITOR": 4, "INDIRECT-DOWNREGULATOR": 4,
          "AGONIST": 5, "AGONIST-ACTIVATOR": 5, "AGONIST-INHIBITOR": 5, "ANTAGONIST": 6, "SUBSTRATE": 9, "PRODUCT-OF": 9,
          "SUBSTRATE-PRODUCT-OF": 9}


def triax_order(count, seed, epoch):
    """The order of an epoch: a shuffle by Philox4x32-10 (triax/base/rng.h)."""
    def block(counter):
        c, k0, k1 = [counter & 0xFFFFFFFF, counter >> 32, epoch, 0], seed, 0
        for _ in range(10):
            a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [b >> 32 ^ c[1] ^ k0, b & 0xFFFFFFFF, a >> 32 ^ c[3] ^ k1, a & 0xFFFFFFFF]
            k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
        return c

    def numbers():
        for counter in range(1 << 32):
            c = block(counter)
            yield c[0] << 32 | c[1]
            yield c[2] << 32 | c[3]
    random64, order = numbers(), list(range(count))
    for i in range(count, 1, -1):
        j = next(n for n in random64 if n < (1 << 64) - (1 << 64) % i) % i
        order[i - 1], order[j] = order[j], order[i - 1]
    return order


# ---- the parts of the sets

def some(records, count, seed=0):
    if count >= len(records):
        return records
    return [records[i] for i in sorted(random.Random(seed).sample(range(len(records)), count))]


def squad_part(path, count, seed):
    """Whole paragraphs drawn at random until there are `count` questions."""
    articles = json.load(open(path, encoding="utf-8"))["data"]
    paragraphs = [p for a in articles for p in a["paragraphs"]]
    random.Random(seed).shuffle(paragraphs)
    chosen, questions = [], 0
    while questions < count and paragraphs:
        p = paragraphs.pop()
        p["qas"] = p["qas"][:count - questions]
        questions += len(p["qas"])
        chosen.append(p)
    return json.dumps({"version": "1.1", "data": [{"title": "part", "paragraphs": chosen}]})


def write_parts(task, data, out, share, full):
    paths = []
    for place, (name, count) in enumerate(zip(FILES[task], PARTS[task])):
        count = 10 ** 9 if full and place != 1 else max(1, round(count * share))
        source, target = os.path.join(data, name), os.path.join(out, f"{task}-{('train', 'dev', 'test')[place]}")
        if task == "qa":
            text = squad_part(source, count, place)
        else:
            ner = task == "ner"
            whole = open(source, encoding="utf-8").read().strip("\n")
            records = whole.split("\n\n" if ner else "\n")
            if task == "relation":  # a few of the distributed records mark an entity twice
                records = [r for r in records if all(r.count(mark) == 1 for mark in ("<<", ">>", "[[", "]]"))]
            text = ("\n\n" if ner else "\n").join(some(records, count)) + "\n"
        open(target, "w", encoding="utf-8").write(text)
        paths.append(target)
    return paths


# ---- triax

def tune_with_triax(args, task, paths, seed, start):
    s, folder = SETTINGS[task], os.path.join(args.out, f"{task}-triax-{seed}")
    config = os.path.join(args.out, f"{task}.toml")
    with open(config, "w") as file:
        file.write(f'[model]\npath = "{start}"\nhead_dropout = {0.0 if task == "qa" else args.dropout}\n'
                   f'[data]\ntrain = "{paths[0]}"\ndev = "{paths[1]}"\ntest = "{paths[2]}"\nmax_length = {s["max_length"]}\n')
        if "stride" in s:
            file.write(f'stride = {s["stride"]}\n')
        if task == "relation":
            file.write("[task]\nchemprot_groups = true\n")
        file.write(f'[train]\nepochs = {s["epochs"]}\nbatch_size = {s["batch_size"]}\nlearning_rate = {s["learning_rate"]}\n'
                   f"warmup = {WARMUP}\nweight_decay = {WEIGHT_DECAY}\nclip_gradient = {CLIP}\n")
    begin = time.time()
    subprocess.run([args.triax, "finetune", task, config, "--set", f"train.seeds=[{seed}]", "--set", f"output.dir={folder}"], check=True,
                   stdout=sys.stderr, env=dict(os.environ, OMP_NUM_THREADS=str(args.threads)))
    run = os.path.join(folder, f"seed-{seed}")
    return os.path.join(run, {"ner": "test-predictions.tsv", "qa": "test-predictions.json"}.get(task, "test.jsonl")), time.time() - begin


# ---- PyTorch

class Torch:
    """One task with transformers: features, training, predictions. `start` is a folder for what both begin with."""

    def __init__(self, args, task, paths, seed, start):
        import torch
        import transformers
        transformers.logging.set_verbosity_error()
        self.torch, self.task, self.s = torch, task, SETTINGS[task]
        self.version = f"{torch.__version__.split('+')[0]}, transformers {transformers.__version__}"
        torch.manual_seed(seed)
        torch.set_num_threads(args.threads)
        self.seed, self.micro_batches = seed, args.micro_batches
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
        self.sets = [getattr(self, "read_" + task)(path) for path in paths]
        dropout = dict(hidden_dropout_prob=args.dropout, attention_probs_dropout_prob=args.dropout)
        if task == "qa":
            self.model = transformers.BertForQuestionAnswering.from_pretrained(args.model, **dropout)
        else:
            self.labels = ["O", "B-Chemical", "I-Chemical"] if task == "ner" else sorted({r["label"] for r in self.sets[0]})
            kind = transformers.BertForTokenClassification if task == "ner" else transformers.BertForSequenceClassification
            self.model = kind.from_pretrained(args.model, num_labels=len(self.labels), classifier_dropout=args.dropout,
                                              id2label=dict(enumerate(self.labels)), label2id={l: i for i, l in enumerate(self.labels)}, **dropout)
        self.model.save_pretrained(start)
        self.tokenizer.save_pretrained(start)
        self.features = [[f for i, r in enumerate(records) for f in getattr(self, "features_" + task)(i, r)] for records in self.sets]

    def read_ner(self, path):
        blocks = open(path, encoding="utf-8").read().strip("\n").split("\n\n")
        return [[line.split("\t") for line in block.split("\n")] for block in blocks]

    def read_classify(self, path):
        return [json.loads(line) for line in open(path, encoding="utf-8")]

    def read_relation(self, path):
        records = self.read_classify(path)
        for r in records:
            r["label"] = f"CPR:{GROUPS[r['label'].replace('_', '-')]}"
        return records

    def read_qa(self, path):
        return [dict(q, context=p["context"]) for a in json.load(open(path, encoding="utf-8"))["data"] for p in a["paragraphs"] for q in p["qas"]]

    def features_ner(self, index, sentence):
        e = self.tokenizer([w for w, _ in sentence], is_split_into_words=True, truncation=True, max_length=self.s["max_length"])
        labels, before = [], None
        for word in e.word_ids():
            labels.append(-100 if word is None or word == before else self.labels.index(sentence[word][1]))
            before = word
        yield dict(record=index, ids=e["input_ids"], types=e["token_type_ids"], labels=labels)

    def features_classify(self, index, record):
        e = self.tokenizer(record["text"], truncation=True, max_length=self.s["max_length"])
        label = self.labels.index(record["label"]) if record["label"] in self.labels else -100
        yield dict(record=index, ids=e["input_ids"], types=e["token_type_ids"], labels=label)

    features_relation = features_classify

    def features_qa(self, index, q):
        e = self.tokenizer(q["question"], q["context"], truncation="only_second", max_length=self.s["max_length"], stride=self.s["stride"],
                           return_overflowing_tokens=True, return_offsets_mapping=True)
        answer = q["answers"][0]
        begin = answer["answer_start"]
        if not q["context"][begin:].startswith(answer["text"]):  # the nearest place of that text
            places = [m.start() for m in re.finditer(re.escape(answer["text"]), q["context"])]
            begin = min(places, key=lambda p: abs(p - begin)) if places else None
        for w, offsets in enumerate(e["offset_mapping"]):
            places = [o if s == 1 else None for o, s in zip(offsets, e.sequence_ids(w))]
            start = end = 0
            if begin is not None:
                inside = [i for i, p in enumerate(places) if p]
                finish = begin + len(answer["text"])
                if places[inside[0]][0] <= begin and places[inside[-1]][1] >= finish:
                    start = next(i for i in inside if places[i][1] > begin)
                    end = next(i for i in reversed(inside) if places[i][0] < finish)
            yield dict(record=index, ids=e["input_ids"][w], types=e["token_type_ids"][w], start=start, end=end, places=places)

    def batch(self, features):
        torch, longest = self.torch, max(len(f["ids"]) for f in features)
        padded = lambda rows, value: torch.tensor([list(r) + [value] * (longest - len(r)) for r in rows])
        inputs = dict(input_ids=padded([f["ids"] for f in features], 0), token_type_ids=padded([f["types"] for f in features], 0),
                      attention_mask=padded([[1] * len(f["ids"]) for f in features], 0))
        if self.task == "qa":
            inputs.update(start_positions=torch.tensor([f["start"] for f in features]), end_positions=torch.tensor([f["end"] for f in features]))
        elif self.task == "ner":
            inputs.update(labels=padded([f["labels"] for f in features], -100))
        else:
            inputs.update(labels=torch.tensor([f["labels"] for f in features]))
        return inputs

    def train(self, out):
        torch, s, features = self.torch, self.s, self.features[0]
        plain = [p for n, p in self.model.named_parameters() if n.endswith("bias") or "LayerNorm" in n]
        decayed = [p for n, p in self.model.named_parameters() if not (n.endswith("bias") or "LayerNorm" in n)]
        optimizer = torch.optim.AdamW([dict(params=decayed, weight_decay=WEIGHT_DECAY), dict(params=plain, weight_decay=0.0)], lr=s["learning_rate"],
                                      betas=(0.9, 0.999), eps=1e-8)
        per_epoch = math.ceil(len(features) / s["batch_size"])
        total, step, best, weights = per_epoch * s["epochs"], 0, -1.0, None
        warm = round(WARMUP * total)
        for epoch in range(s["epochs"]):
            self.model.train()
            order = triax_order(len(features), self.seed, epoch + 1)
            losses, begin = 0.0, time.time()
            for at in range(0, len(features), s["batch_size"]):
                step += 1
                for group in optimizer.param_groups:
                    group["lr"] = s["learning_rate"] * (step / warm if step < warm else (total - step) / (total - warm))
                optimizer.zero_grad()
                losses += self.backward([features[i] for i in order[at:at + s["batch_size"]]])
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
                optimizer.step()
            seconds = time.time() - begin
            dev = out(1)
            print(f"PyTorch {self.task} epoch {epoch + 1} loss {losses / per_epoch:.4f} dev {dev:.2f} {sum(len(f['ids']) for f in features) / seconds:.0f} tokens/s",
                  file=sys.stderr, flush=True)
            if dev > best:
                best, weights = dev, {k: v.clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(weights)

    def backward(self, features):
        """The gradients of a batch, in micro-batches; its loss."""
        features = sorted(features, key=lambda f: len(f["ids"])) if self.micro_batches > 1 else features
        size = math.ceil(len(features) / self.micro_batches)
        counts = lambda some: sum(sum(l != -100 for l in f["labels"]) if self.task == "ner" else 1 for f in some)
        loss = 0.0
        for at in range(0, len(features), size):
            part = features[at:at + size]
            share = self.loss(self.batch(part)) * (counts(part) / counts(features))
            share.backward()
            loss += share.item()
        return loss

    def loss(self, inputs):
        result = self.model(**inputs)
        if self.task != "qa":
            return result.loss
        # transformers lets the answer begin and end in the padding too, so that its loss depends on the batch.
        padding = inputs["attention_mask"] == 0
        return sum(self.torch.nn.functional.cross_entropy(logits.masked_fill(padding, -1e9), inputs[goal])
                   for logits, goal in ((result.start_logits, "start_positions"), (result.end_logits, "end_positions"))) / 2

    def logits(self, which):
        """Of every feature, in order; batches are of neighbours in length."""
        self.model.eval()
        features, rows = self.features[which], {}
        order = sorted(range(len(features)), key=lambda i: len(features[i]["ids"]))
        with self.torch.no_grad():
            for at in range(0, len(order), 16):
                batch = self.batch([features[i] for i in order[at:at + 16]])
                result = self.model(**{k: v for k, v in batch.items() if k in ("input_ids", "token_type_ids", "attention_mask")})
                for row, i in enumerate(order[at:at + 16]):
                    rows[i] = (result.start_logits[row].tolist(), result.end_logits[row].tolist()) if self.task == "qa" else result.logits[row].tolist()
        for i, f in enumerate(features):
            yield f, rows[i]

    def write(self, which, path):
        best = lambda row: self.labels[max(range(len(row)), key=row.__getitem__)]
        with open(path, "w", encoding="utf-8") as file:
            if self.task == "qa":
                json.dump(self.answers(which), file)
            elif self.task == "ner":
                for f, rows in self.logits(which):
                    tags = [best(rows[i]) for i, label in enumerate(f["labels"]) if label != -100]
                    words = [w for w, _ in self.sets[which][f["record"]]]
                    file.write("".join(f"{w}\t{t}\n" for w, t in zip(words, tags + ["O"] * (len(words) - len(tags)))) + "\n")
            else:
                for f, row in self.logits(which):
                    file.write(json.dumps({"prediction": best(row)}) + "\n")

    def answers(self, which, n_best=20, longest=30):
        """The span with the best sum of logits over a question's windows; a token counts in the window that sees most around it."""
        windows = {}
        for f, (start, end) in self.logits(which):
            windows.setdefault(f["record"], []).append((f["places"], start, end))
        answers = {}
        for record, q in enumerate(self.sets[which]):
            context = {}
            for w, (places, _, _) in enumerate(windows[record]):
                inside = [i for i, p in enumerate(places) if p]
                for i in inside:
                    score = min(i - inside[0], inside[-1] - i) + 0.01 * len(inside)
                    if places[i] not in context or score > context[places[i]][0]:
                        context[places[i]] = (score, w)
            top = (-1e30, "")
            for w, (places, start, end) in enumerate(windows[record]):
                inside = [i for i, p in enumerate(places) if p]
                for i in sorted(inside, key=lambda i: -start[i])[:n_best]:
                    for j in sorted(inside, key=lambda j: -end[j])[:n_best]:
                        if i <= j < i + longest and context[places[i]][1] == w and start[i] + end[j] > top[0]:
                            top = (start[i] + end[j], q["context"][places[i][0]:places[j][1]])
            answers[q["id"]] = top[1]
        return answers


# ---- both

def score(args, task, predictions, gold):
    text = subprocess.run([args.triax, "score", *SCORE[task], predictions, gold, "--json"], check=True, capture_output=True, text=True).stdout
    return NUMBER[task](json.loads(text))


def tune_with_torch(args, torch, task, paths, seed):
    begin = time.time()
    dev, test = (os.path.join(args.out, f"{task}-torch-{seed}-{part}") for part in ("dev", "test"))

    def dev_score(which):
        torch.write(which, dev)
        return score(args, task, dev, paths[which])
    torch.train(dev_score)
    torch.write(2, test)
    return test, time.time() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="Hugging Face folder of a BERT")
    parser.add_argument("--data", required=True, help="folder of the sets")
    parser.add_argument("--out", required=True)
    parser.add_argument("--triax", default="build/triax")
    parser.add_argument("--tasks", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--share", type=float, default=1.0, help="of PARTS")
    parser.add_argument("--parts", nargs=3, type=int, metavar=("TRAIN", "DEV", "TEST"), help="records, in place of PARTS")
    parser.add_argument("--full", action="store_true", help="the whole sets (dev: its part)")
    parser.add_argument("--epochs", type=int, help="instead of those of SETTINGS")
    parser.add_argument("--micro-batches", type=int, default=1, help="of PyTorch's batches")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    for task in args.tasks:
        if args.epochs:
            SETTINGS[task]["epochs"] = args.epochs
        if args.parts:
            PARTS[task] = tuple(args.parts)
        paths = write_parts(task, args.data, args.out, args.share, args.full)
        ours, theirs = [], []
        for seed in args.seeds:
            start = os.path.join(args.out, f"{task}-start-{seed}")
            torch = Torch(args, task, paths, seed, start)
            predictions, seconds = tune_with_triax(args, task, paths, seed, start)
            ours.append(score(args, task, predictions, paths[2]))
            predictions, torch_seconds = tune_with_torch(args, torch, task, paths, seed)
            theirs.append(score(args, task, predictions, paths[2]))
            print(f"{NAME[task]}, seed {seed}: triax {ours[-1]:.2f} ({seconds:.0f} s), PyTorch {torch.version} {theirs[-1]:.2f} ({torch_seconds:.0f} s)", flush=True)
        mean = lambda x: sum(x) / len(x)
        print(f"{NAME[task]}: triax {mean(ours):.2f}, PyTorch {mean(theirs):.2f}, difference {mean(ours) - mean(theirs):+.2f} over {len(ours)} seeds", flush=True)


if __name__ == "__main__":
    sys.exit(main())
