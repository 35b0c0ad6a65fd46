"""Writes test/fixtures/quantised/: rows of values, and the bytes that gguf's own quantisers make of them, type by type.

The rows hold what weights hold (normal, heavy-tailed, binary16 values) and what trips quantisers up: zeros of both signs, ties between codes,
one large value among small ones, subnormals whose scale's inverse overflows, values whose scale does not fit binary16, random bits.

usage: python3 test/oracle/make_quantised.py
"""

import os
import warnings

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import save_file

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'fixtures', 'quantised')
COLUMNS = 64
TYPES = [Type.F16, Type.BF16, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0]


def rows() -> np.ndarray:
    r = np.random.default_rng(1)
    blocks = (4, 2 * COLUMNS // 32, 32)
    finite = r.integers(0, 1 << 32, (8, COLUMNS), dtype=np.uint32).view(np.float32)
    subnormal = (r.integers(0, 1 << 23, (4, COLUMNS), dtype=np.uint32) | r.integers(0, 2, (4, COLUMNS), dtype=np.uint32) << 31).astype(np.uint32).view(np.float32)
    one_large = r.normal(0, 1e-3, (4, COLUMNS))
    one_large[np.arange(4), r.integers(0, COLUMNS, 4)] = [5, -5, 300, -300]
    return np.concatenate([
        r.normal(0, 0.02, (16, COLUMNS)),
        r.standard_t(2, (8, COLUMNS)),
        r.normal(0, 0.02, (8, COLUMNS)).astype(np.float16),
        np.zeros((1, COLUMNS)),
        -np.zeros((1, COLUMNS)),
        np.full((1, COLUMNS), -0.3),
        r.integers(-8, 9, (4, COLUMNS)) * 0.5,
        r.integers(-254, 255, (4, COLUMNS)) * 0.5,
        one_large,
        (r.normal(0, 1, blocks) * 10.0 ** r.integers(-45, -30, (*blocks[:2], 1))).reshape(-1, COLUMNS),
        subnormal,
        r.normal(0, 1e5, (4, COLUMNS)),
        r.normal(0, 1e37, (4, COLUMNS)),
        np.where(np.isfinite(finite), finite, 1),
    ]).astype(np.float32)


if __name__ == '__main__':
    warnings.simplefilter('ignore')  # overflow to infinity is what some rows are for
    values = rows()
    os.makedirs(OUT, exist_ok=True)
    save_file({'values': values}, os.path.join(OUT, 'values.safetensors'))
    for kind in TYPES:
        gguf.quants.quantize(values, kind).view(np.uint8).tofile(os.path.join(OUT, f'{kind.name}.bin'))
    print(values.shape, sum(os.path.getsize(os.path.join(OUT, file)) for file in os.listdir(OUT)), 'bytes')
