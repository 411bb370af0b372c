#!/usr/bin/env python3
"""Writes scores.json: tricky cases and what the official scorers say about them.

    make_scores.py EVALUATE_V1.1.py EVALUATE_V2.0.py

The arguments are the official SQuAD scripts. conlleval is the Python port on PyPI (conlleval 0.2), which
follows conlleval.pl line by line; the numbers were the same with seqeval 1.2. Class scores are those of
scikit-learn, correlations those of SciPy.
"""
import collections, importlib.util, json, random, sys

import conlleval
import numpy as np
import scipy.stats
import sklearn.metrics as sk
from seqeval.metrics import f1_score


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


v1, v2 = load(sys.argv[1], "v1"), load(sys.argv[2], "v2")
random.seed(7)
out = {}

# Entities: hand-made errors of IOB, then random tags of three types, most of them ill-formed.
pairs = [("O I-A I-A O", "O B-A I-A O"), ("B-A I-B O", "B-A I-A O"), ("B-A B-A I-A", "B-A I-A I-A"),
         ("I-A I-A B-A", "I-A I-A I-A"), ("O O O", "I-A O I-A"), ("B-A I-A I-A", "O I-A I-A"),
         ("B-A I-A I-B I-B", "B-A I-A B-B I-B"), ("B-A O", "B-A I-A"), ("B-X-Y I-X-Y", "B-X-Y I-X-Y"), ("O", "O")]
tags = ["O", "O"] + [p + t for p in ("B-", "I-") for t in ("A", "B", "C")]
for _ in range(60):
    n = random.randint(1, 12)
    gold = [random.choice(tags) for _ in range(n)]
    found = [g if random.random() < 0.6 else random.choice(tags) for g in gold]
    pairs.append((" ".join(gold), " ".join(found)))
lines = []
for gold, found in pairs:
    lines += [f"w{i} {g} {f}" for i, (g, f) in enumerate(zip(gold.split(), found.split()))] + [""]
report = conlleval.report(conlleval.evaluate(lines))
golds, founds = [p[0].split() for p in pairs], [p[1].split() for p in pairs]
out["entities"] = {"pairs": pairs, "report": report, "seqeval_f1": f1_score(golds, founds)}

# Answers: what normalization does, in both versions.
answers = ["The  Cat", "a-an the", "\"The 'quoted' answer\"", "O'Neill", "the", "", "ÉCOLE NORMALE", "İstanbul", "ΟΔΟΣ ΣΑΣ",
           "theory", "a theory of the a", "1,000 – 2,000", "1000 2000", "$5.00 (U.S.)", "x\u00a0y\u2003z", "x y z", "a\u0301b",
           "the_cat", "-the-", "²a²", "ａ ｔｈｅ", "日本 the 国", "an\u200bapple", "Straße", "STRASSE", "a\u2019s answer", "and the an",
           "…the…", "the…a", "à la", "\u1e9e", "x\x1cy", "x\x85y", "x\u180ey"]
norm = {a: v1.normalize_answer(a) for a in answers}
assert all(v2.normalize_answer(a) == n for a, n in norm.items())
random_pairs = [(random.choice(answers), random.choice(answers)) for _ in range(150)]
random_pairs += [(a, a) for a in answers] + [("the cat sat", "cat cat the sat"), ("a b b c", "b b b d")]
out["normalized"] = norm
out["f1"] = [[g, p, v1.f1_score(p, g), v2.compute_f1(g, p)] for g, p in random_pairs]


def squad(with_impossible):
    contexts, n = [], 0
    data = {"version": "v2.0" if with_impossible else "1.1", "data": [{"title": "t", "paragraphs": []}]}
    preds, probs = {}, {}
    for _ in range(5):
        qas = []
        for _ in range(10):
            n += 1
            qid = f"q{n}"
            golds = [{"text": random.choice([a for a in answers if a]), "answer_start": 0} for _ in range(random.randint(1, 3))]
            if with_impossible and random.random() < 0.4:
                golds = []
            qas.append({"id": qid, "question": "?", "answers": golds, "is_impossible": not golds})
            if n == 13 and not with_impossible:
                continue  # unanswered
            r = random.random()
            preds[qid] = golds[0]["text"] + random.choice(["", " more", " x y"]) if golds and r < 0.5 else "" if r < 0.75 else random.choice(answers)
            probs[qid] = round(random.random(), 1)
        data["data"][0]["paragraphs"].append({"context": " ".join(a for a in answers if a), "qas": qas})
    return data, preds, probs


data, preds, _ = squad(False)
out["squad1"] = {"data": data, "predictions": preds, "score": v1.evaluate(data["data"], preds)}
data, preds, probs = squad(True)
has = v2.make_qid_to_has_ans(data["data"])
exact, f1 = v2.get_raw_scores(data["data"], preds)
score = {}
for threshold in (1.0, 0.45):
    e, f = (v2.apply_no_ans_threshold(s, probs, has, threshold) for s in (exact, f1))
    ev = v2.make_eval_dict(e, f)
    v2.merge_eval(ev, v2.make_eval_dict(e, f, [k for k in has if has[k]]), "HasAns")
    v2.merge_eval(ev, v2.make_eval_dict(e, f, [k for k in has if not has[k]]), "NoAns")
    v2.find_all_best_thresh(ev, preds, exact, f1, probs, has)
    score[str(threshold)] = ev
out["squad2"] = {"data": data, "predictions": preds, "no_answer": probs, "score": score}

# Classes and numbers.
names = ["a", "b", "c", "never"]
gold = [random.choice("abbbc") for _ in range(200)]
found = [g if random.random() < 0.7 else random.choice("abc") for g in gold]
positive = ["b", "c"]
p, r, f, _ = sk.precision_recall_fscore_support(gold, found, labels=positive, average="micro")
out["classes"] = {"names": names, "gold": gold, "found": found, "accuracy": sk.accuracy_score(gold, found),
                  "macro_f1": sk.f1_score(gold, found, average="macro"), "matthews": sk.matthews_corrcoef(gold, found),
                  "matrix": sk.confusion_matrix(gold, found, labels=names).tolist(), "micro": [p, r, f],
                  "per_class": [list(map(float, x)) for x in sk.precision_recall_fscore_support(gold, found, labels=names, zero_division=0)[:3]]}
x = [random.randint(0, 8) * 0.5 for _ in range(80)]
y = [v + random.gauss(0, 1.5) for v in x]
y[3] = y[4]
out["numbers"] = {"x": x, "y": y, "pearson": float(scipy.stats.pearsonr(x, y)[0]), "spearman": float(scipy.stats.spearmanr(x, y)[0])}
json.dump(out, open(__file__.replace("make_scores.py", "scores.json"), "w"), indent=0)
