"""Blocks of the k-quants, which the gguf package reads and does not write: random scales and values, with the block's own factors set so that the values
have mean about 0 and the standard deviation asked for. What they mean is what `gguf.quants.dequantize` says."""

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

QUANTIZED_BY_GGUF = {Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0}
# Offsets of the f16 factors in a block: d, and dmin where there is one, with the mean of the unsigned values that dmin has to take away.
FACTORS = {Type.Q2_K: (80, 82, 1.5), Type.Q3_K: (108, None, 0), Type.Q4_K: (0, 2, 7.5), Type.Q5_K: (0, 2, 15.5), Type.Q6_K: (208, None, 0)}


def random_blocks(shape, kind: Type, std: float, rng: np.random.Generator) -> np.ndarray:
    block, nbytes = gguf.GGML_QUANT_SIZES[kind]
    rows, columns = shape
    data = rng.integers(0, 256, (rows * columns // block, nbytes), dtype=np.uint8)
    set_factors(data, kind, 1 / 64)
    measured = gguf.quants.dequantize(data, kind).std()
    set_factors(data, kind, std / measured / 64)
    return data.reshape(rows, -1)


def set_factors(data: np.ndarray, kind: Type, d: float):
    at, at_min, mean = FACTORS[kind]
    data[:, at:at + 2] = np.frombuffer(np.float16(d).tobytes(), np.uint8)
    if at_min is not None:
        data[:, at_min:at_min + 2] = np.frombuffer(np.float16(d * mean).tobytes(), np.uint8)
