#!/usr/bin/env python3
"""Expected blends for gpt_loader_test.cpp, in exact arithmetic: make_blend_fixture.py > blend_fixture.txt

The rule of Megatron's build_blending_indices: sample i goes to the dataset with the largest
share * max(i, 1) - count, the first of them when several are equal. Weights here are multiples of
1/64 that add up to 1, so that binary floating point is exact too.
"""
from fractions import Fraction


def blend(weights, size):
    total = sum(weights)
    counts = [0] * len(weights)
    out = []
    for i in range(size):
        errors = [Fraction(w, total) * max(i, 1) - c for w, c in zip(weights, counts)]
        d = errors.index(max(errors))
        out.append((d, counts[d]))
        counts[d] += 1
    return out


for weights, size in (([32, 32], 9), ([48, 16], 20), ([1, 31, 32], 70), ([8, 8, 16, 32], 64)):
    result = blend(weights, size)
    print(len(weights), *weights, size, *[d for d, _ in result], *[s for _, s in result])
