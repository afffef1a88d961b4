"""Blocks of GGUF decoded value by value from the formats' definition, unlike the code under test.

A block is read with Python's integers, one value at a time: the definition, and nothing of NumPy's
shapes. The package gguf is a second witness.
"""

import struct
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from sala_compile.sala_ir.checkpoint.gguf.block_integers import BLOCK_FORMATS

Values = Iterator[tuple[Fraction, Fraction]]
"""For each value its product and its minimum, exact."""
ZERO = Fraction(0)
LINEAR = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


def half(block: bytes, at: int) -> Fraction:
    """A float16 number."""
    return Fraction(*struct.unpack_from("<e", block, at)[0].as_integer_ratio())


def nibble(block: bytes, at: int, index: int, run: int) -> int:
    """Of `run` bytes the low halves come first."""
    byte = block[at + index // (2 * run) * run + index % run]
    return byte >> 4 if index // run % 2 else byte & 15


def simple(*, minimum: bool, fifth: bool, middle: int) -> Callable[[bytes], Values]:
    """Q4_0, Q4_1, Q5_0, Q5_1."""

    def values(block: bytes) -> Values:
        begin = 4 if minimum else 2
        word = struct.unpack_from("<I", block, begin)[0] if fifth else 0
        for i in range(32):
            code = nibble(block, begin + 4 * fifth, i, 16) | (word >> i & 1) << 4
            yield half(block, 0) * (code - middle), half(block, 2) if minimum else ZERO

    return values


def q8_0(block: bytes) -> Values:
    for i in range(32):
        yield half(block, 0) * struct.unpack_from("b", block, 2 + i)[0], ZERO


def six_bits(block: bytes, at: int, group: int) -> tuple[int, int]:
    """Factor of the scale and of the minimum of a group of Q4_K and Q5_K."""
    table = block[at : at + 12]
    if group < 4:
        return table[group] & 63, table[group + 4] & 63
    scale = table[group + 4] & 15 | table[group - 4] >> 6 << 4
    return scale, table[group + 4] >> 4 | table[group] >> 6 << 4


def with_minima(begin: int, fifth: int) -> Callable[[bytes], Values]:
    """Q4_K and Q5_K, whose codes begin at `begin` and fifth bits at `fifth` (0: none)."""

    def values(block: bytes) -> Values:
        for i in range(256):
            code = nibble(block, begin, i, 32)
            if fifth:
                code |= (block[fifth + i % 32] >> i // 32 & 1) << 4
            scale, minimum = six_bits(block, 4, i // 32)
            yield half(block, 0) * scale * code, -half(block, 2) * minimum

    return values


def q6_k(block: bytes) -> Values:
    for i in range(256):
        part, inside = divmod(i, 128)
        quarter, place = divmod(inside, 32)
        byte = block[64 * part + 32 * (quarter % 2) + place]
        low = byte >> 4 if quarter > 1 else byte & 15
        high = block[128 + 32 * part + place] >> 2 * quarter & 3
        scale = struct.unpack_from("b", block, 192 + i // 16)[0]
        yield half(block, 208) * scale * ((low | high << 4) - 32), ZERO


def q2_k(block: bytes) -> Values:
    for i in range(256):
        part, inside = divmod(i, 128)
        code = block[16 + 32 * part + inside % 32] >> 2 * (inside // 32) & 3
        factors = block[i // 16]
        yield half(block, 80) * (factors & 15) * code, -half(block, 82) * (factors >> 4)


def q3_k(block: bytes) -> Values:
    for i in range(256):
        part, inside = divmod(i, 128)
        code = block[32 + 32 * part + inside % 32] >> 2 * (inside // 32) & 3
        code -= 0 if block[i % 32] >> i // 32 & 1 else 4
        group = i // 16
        four = block[96 + group % 8] >> 4 * (group // 8) & 15
        two = block[104 + group % 4] >> 2 * (group // 4) & 3
        yield half(block, 108) * ((four | two << 4) - 32) * code, ZERO


def iq4_nl(block: bytes) -> Values:
    for i in range(32):
        yield half(block, 0) * LINEAR[nibble(block, 2, i, 16)], ZERO


def iq4_xs(block: bytes) -> Values:
    high = struct.unpack_from("<H", block, 2)[0]
    for i in range(256):
        group = i // 32
        scale = block[4 + group // 2] >> 4 * (group % 2) & 15 | (high >> 2 * group & 3) << 4
        yield half(block, 0) * (scale - 32) * LINEAR[nibble(block, 8, i, 16)], ZERO


def tq2_0(block: bytes) -> Values:
    for i in range(256):
        part, inside = divmod(i, 128)
        digit = block[32 * part + inside % 32] >> 2 * (inside // 32) & 3
        yield half(block, 64) * (digit - 1), ZERO


def tq1_0(block: bytes) -> Values:
    for i in range(256):
        begin, run, first = (0, 32, 0) if i < 160 else (32, 16, 160) if i < 240 else (48, 4, 240)
        power, place = divmod(i - first, run)
        digit = block[begin + place] * 3**power % 256 * 3 // 256
        yield half(block, 52) * (digit - 1), ZERO


DEFINITIONS: dict[str, Callable[[bytes], Values]] = {
    "Q8_0": q8_0,
    "Q4_0": simple(minimum=False, fifth=False, middle=8),
    "Q4_1": simple(minimum=True, fifth=False, middle=0),
    "Q5_0": simple(minimum=False, fifth=True, middle=16),
    "Q5_1": simple(minimum=True, fifth=True, middle=0),
    "Q2_K": q2_k,
    "Q3_K": q3_k,
    "Q4_K": with_minima(16, 0),
    "Q5_K": with_minima(48, 16),
    "Q6_K": q6_k,
    "TQ1_0": tq1_0,
    "TQ2_0": tq2_0,
    "IQ4_NL": iq4_nl,
    "IQ4_XS": iq4_xs,
}
SCALES = {"Q2_K": 80, "Q3_K": 108, "Q6_K": 208, "TQ1_0": 52, "TQ2_0": 64}
"""Where the first float16 is, if not at the beginning."""
EXTREME = (0.0, -0.0, 6e-8, -6e-8, 6.1e-5, 65504.0, -65504.0, 1.0, -0.3333)
"""Zeros, the least and the largest denormal, the largest numbers."""


def random_rows(kind: str, rows: int, blocks: int) -> np.ndarray:
    """Any bytes, the first blocks with extreme float16 numbers, all of them finite."""
    random = np.random.default_rng(len(kind))
    size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]][1]
    found = random.integers(0, 256, (rows * blocks, size), dtype=np.uint8)
    at, count = SCALES.get(kind, 0), BLOCK_FORMATS[kind].encoding.entries
    for index, block in enumerate(found):
        numbers = random.standard_normal(count)
        if index < 3 * len(EXTREME):
            numbers = np.array([EXTREME[index % len(EXTREME)], EXTREME[index // 3 % 9]][:count])
        block[at : at + 2 * count] = np.frombuffer(numbers.astype(np.float16).tobytes(), np.uint8)
    return found.reshape(rows, -1)


def test_every_format_has_a_definition_here() -> None:
    assert DEFINITIONS.keys() == BLOCK_FORMATS.keys()


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_values_are_those_of_the_definition(kind: str) -> None:
    """To float32's rounding of product and sum, as the format's own programs compute them."""
    rows, blocks = 5, 9
    stored = random_rows(kind, rows, blocks)
    values, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    found = BLOCK_FORMATS[kind].integers(stored).values(blocks * values)
    assert np.array_equal(found, dequantize(stored, GGMLQuantizationType[kind]))
    wanted = [
        np.float32(float(product + minimum))
        for block in stored.reshape(-1, size)
        for product, minimum in DEFINITIONS[kind](block.tobytes())
    ]
    assert np.array_equal(found.reshape(-1), np.array(wanted, np.float32))
