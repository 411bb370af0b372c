#!/usr/bin/env python3
"""Expected indices of GPT datasets, for gpt_dataset_test.cpp: run with numpy, prints the fixture.

    make_gpt_fixture.py > gpt_fixture.txt

Follows the published description of Megatron's GPT dataset, but by other means than the C++: the
token stream of all epochs is laid out in full, sample r is simply its tokens [r L, r L + L], and its
place (position in the document index, offset) is looked up in that stream.
"""
import math

import numpy as np


def token(document, position):
    """What the C++ test puts into its datasets."""
    return (document * 1009 + position * 7 + 1) % 60000


def build(lengths, first, last, num_samples, seq_length, seed, keep_partial):
    documents = list(range(first, last))
    per_epoch = sum(lengths[d] for d in documents)
    epochs = 1
    if num_samples > 0:
        while epochs * per_epoch < num_samples * seq_length + 1:
            epochs += 1
    separate, sans_last = False, 0
    if epochs > 1:
        sans_last = ((epochs - 1) * per_epoch - 1) // seq_length
        one = (per_epoch - 1) // seq_length
        separate = num_samples - sans_last < int(0.80 * one)

    random = np.random.RandomState(seed)

    def shuffled(ids):
        array = np.array(ids, dtype=np.int32)
        random.shuffle(array)
        return array.tolist()

    if separate:
        order = shuffled(documents * (epochs - 1)) + shuffled(documents)
    else:
        order = shuffled(documents * epochs)

    # (position in the document index, offset in the document) of every token there is
    places = [(i, t) for i, d in enumerate(order) for t in range(lengths[d])]
    total = len(places)
    whole = (total - 1) // seq_length
    count = math.ceil((total - 1) / seq_length) if keep_partial else whole
    rows = [(0, 0)] + [places[r * seq_length] for r in range(1, whole + 1)]
    if count > whole:
        rows.append((len(order) - 1, lengths[order[-1]] - 1))

    def shuffled_range(begin, end):
        array = np.arange(begin, end, dtype=np.uint32)
        random.shuffle(array)
        return array.tolist()

    if separate:
        shuffle = shuffled_range(0, sans_last) + shuffled_range(sans_last, count)
    else:
        shuffle = shuffled_range(0, count)

    samples = []
    for k in range(count):
        begin = shuffle[k] * seq_length
        samples.append([token(order[i], t) for i, t in places[begin : begin + seq_length + 1]])
    return epochs, separate, order, rows, shuffle, samples


def case(name, lengths, num_samples, seq_length, seed, first=0, last=None, keep_partial=False):
    last = len(lengths) if last is None else last
    epochs, separate, order, rows, shuffle, samples = build(
        lengths, first, last, num_samples, seq_length, seed, keep_partial
    )
    # The samples are summed up: a polynomial hash of all their tokens, short ones included.
    digest = 0
    for sample in samples:
        for value in [len(sample)] + sample:
            digest = (digest * 1000003 + value) % 2**61
    print("case", name)
    print("lengths", *lengths)
    print("options", first, last, num_samples, seq_length, seed, int(keep_partial))
    print("expect", epochs, int(separate), digest)
    print("documents", *order)
    print("rows", *[x for row in rows for x in row])
    print("shuffle", *shuffle)


random = np.random.RandomState(7)
mixed = random.randint(1, 40, size=30).tolist()
case("one_epoch", mixed, 20, 16, 1234)
case("whole_epoch_when_no_count", mixed, 0, 16, 1)
case("exactly_one_epoch", [9, 8], 4, 4, 5)
case("last_epoch_separate", mixed, 50, 16, 1234)
case("last_epoch_not_separate", mixed, 70, 16, 42)
case("many_epochs", mixed[:5], 60, 16, 3)
case("tiny_documents", random.randint(1, 3, size=60).tolist(), 30, 8, 11)
case("empty_documents", [0, 5, 0, 0, 7, 1, 0, 9, 0, 0], 12, 4, 99)
case("one_giant_document", [500], 70, 16, 2)
case("documents_smaller_than_a_sample", [3, 2, 4], 5, 32, 8)
case("a_part_of_the_documents", mixed, 15, 16, 77, first=20, last=29)
case("partial_kept", mixed, 0, 16, 4, keep_partial=True)
case("partial_kept_two_epochs", [7, 4], 3, 6, 4294967295, keep_partial=True)

# The legacy shuffle alone, beyond a power of two and with an even and odd number of elements.
for seed, size in ((0, 1), (0, 2), (1, 17), (123456789, 300)):
    array = np.arange(size, dtype=np.int32)
    np.random.RandomState(seed).shuffle(array)
    print("permutation", seed, size, *array.tolist())
