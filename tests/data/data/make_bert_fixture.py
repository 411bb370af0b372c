#!/usr/bin/env python3
"""Expected BERT mappings for bert_dataset_test.cpp: run with numpy, prints the fixture.

    make_bert_fixture.py > bert_fixture.txt

The 32-bit generator is NumPy's; the 64-bit one (Matsumoto and Nishimura 2004, mt19937-64) is written
out here and checked against its published 10000th output for the default seed.
"""
import numpy as np

M64 = 2**64 - 1


def mt19937_64(seed):
    n, m = 312, 156
    state = [seed & M64]
    for i in range(1, n):
        state.append((6364136223846793005 * (state[-1] ^ (state[-1] >> 62)) + i) & M64)
    while True:
        for i in range(n):
            y = (state[i] & 0xFFFFFFFF80000000) | (state[(i + 1) % n] & 0x7FFFFFFF)
            state[i] = state[(i + m) % n] ^ (y >> 1) ^ (0xB5026F5AA96619E9 if y & 1 else 0)
        for x in state:
            x ^= (x >> 29) & 0x5555555555555555
            x ^= (x << 17) & 0x71D67FFFEDA60000
            x ^= (x << 37) & 0xFFF7EEE000000000
            yield (x ^ (x >> 43)) & M64


generator = mt19937_64(5489)
assert [next(generator) for _ in range(10000)][-1] == 9981545732273789042


def mapping(documents, wanted, longest, probability, seed):
    bits = np.random.MT19937()
    bits._legacy_seeding(seed)
    ratio = round(1 / probability) if probability else 0

    def target():
        if not ratio:
            return longest
        r = int(bits.random_raw())
        return 2 + r % (longest - 1) if r % ratio == 0 else longest

    rows = []
    while True:
        first = 0
        for lengths in documents:
            if len(lengths) >= 2 and max(lengths) <= 512:
                goal, begin, total = target(), 0, 0
                for i, length in enumerate(lengths):
                    total += length
                    rest = len(lengths) - i - 1
                    if (total >= goal and rest > 1 and i - begin + 1 >= 2) or rest == 0:
                        rows.append((first + begin, first + i + 1, goal))
                        begin, total, goal = i + 1, 0, target()
            first += len(lengths)
        if len(rows) >= wanted:
            break
    random = mt19937_64(seed + 1)
    for i in range(len(rows) - 1, 0, -1):
        j = next(random) % (i + 1)
        rows[i], rows[j] = rows[j], rows[i]
    return rows


random = np.random.RandomState(3)
for wanted, seq_length, probability, seed in ((0, 32, 0.1, 1234), (60, 64, 0.5, 7), (30, 128, 0.0, 1)):
    documents = [random.randint(1, 30, size=random.randint(0, 12)).tolist() for _ in range(12)]
    documents[5] = [3, 513, 4]
    print("documents", *[x for d in documents for x in [len(d)] + d])
    print("options", wanted, seq_length, probability, seed)
    print("rows", *[x for row in mapping(documents, wanted, seq_length - 3, probability, seed) for x in row])
