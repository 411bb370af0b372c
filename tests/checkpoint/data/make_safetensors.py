#!/usr/bin/env python3
"""Writes reference.safetensors with the reference implementation (pip install safetensors numpy).

The content is a formula that safetensors_test.cpp repeats: element i of the n-th tensor of TENSORS is the byte
pattern (7 n + i) % 251 in every byte (0 or 1 for BOOL).
"""
import ctypes
import pathlib

from safetensors import TensorSpec, serialize

TENSORS = [  # name, dtype, safetensors dtype size, shape
    ("layers.0.weight", "float32", 4, [3, 5]),
    ("layers.0.bias", "float32", 4, [5]),
    ("layers.10.weight", "bfloat16", 2, [2, 3]),
    ("layers.2.weight", "bfloat16", 2, [3]),
    ("half", "float16", 2, [1, 1, 1, 4]),
    ("double", "float64", 8, [2]),
    ("ids", "int64", 8, [3]),
    ("counts", "uint64", 8, [1]),
    ("i32", "int32", 4, [2]),
    ("u32", "uint32", 4, [2]),
    ("i16", "int16", 2, [3]),
    ("u16", "uint16", 2, [1]),
    ("i8", "int8", 1, [3]),
    ("u8", "uint8", 1, [2]),
    ("mask", "bool", 1, [5]),
    ("scalar", "float32", 4, []),
    ("empty", "float32", 4, [0, 7]),
    ('quo"ted\\\n\x01\x7f/é日本', "float32", 4, [1]),
]

specs, keep = {}, []
for n, (name, dtype, size, shape) in enumerate(TENSORS):
    count = 1
    for extent in shape:
        count *= extent
    values = [(7 * n + i) % (2 if dtype == "bool" else 251) for i in range(count)]
    data = bytes(v for v in values for _ in range(size))
    buffer = ctypes.create_string_buffer(data, max(1, len(data)))
    keep.append(buffer)
    specs[name] = TensorSpec(dtype=dtype, shape=shape, data_ptr=ctypes.addressof(buffer), data_len=len(data))

# One entry: the reference writes several in an order that changes from run to run.
path = pathlib.Path(__file__).with_name("reference.safetensors")
path.write_bytes(serialize(specs, {"format": 'pt "é"\t'}))
print(path, path.stat().st_size, "bytes")
