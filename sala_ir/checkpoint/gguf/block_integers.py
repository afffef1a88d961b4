"""Blocks of the formats of GGUF as integers of ours: nothing is rounded.

A value of a block is a float16 times an integer, plus a float16 minimum or not. In K-quants 256
values, a super-block, share the float16 numbers, and groups have integer factors of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr

NON_LINEAR = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int16
)
"""What the 16 integers of IQ4_NL and IQ4_XS represent."""


@dataclass(frozen=True, slots=True)
class BlockParts:
    """Blocks [rows, blocks] taken apart.

    `codes` [rows, blocks, values of a block] are unsigned; `scales` float16 [rows, blocks, 1 or 2],
    a scale and a minimum or not; `factors` int8 [rows, blocks, groups, 1 or 2] of super-blocks.
    """

    codes: np.ndarray
    scales: np.ndarray
    factors: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class BlockFormat:
    """A format: the encoding that holds it, and what takes its blocks apart.

    `split` has uint8 [rows, blocks, bytes of a block].
    """

    encoding: EncodingAttr
    block_bytes: int
    split: Callable[[np.ndarray], BlockParts]

    def integers(self, stored: np.ndarray) -> Integers:
        """The integers of rows of blocks, uint8 [rows, bytes of a row]."""
        rows = len(stored)
        parts = self.split(stored.reshape(rows, stored.shape[1] // self.block_bytes, -1))
        codes = parts.codes.reshape(rows, -1).astype(np.uint8, copy=False)
        groups = codes.shape[1] // self.encoding.group.data
        zero = 0 if self.encoding.has_minima else 1 << (self.encoding.bits - 1)
        factors = np.empty((rows, 0), np.int8) if parts.factors is None else parts.factors
        return Integers(
            codes,
            parts.scales.reshape(rows, -1),
            np.full((rows, groups), zero, np.uint8),
            factors.astype(np.int8, copy=False).reshape(rows, factors.size // max(1, rows)),
        )


def _halves(stored: np.ndarray, *, negated: int | None = None) -> np.ndarray:
    """Numbers of float16 [.., n] in bytes [.., 2 n]; one of them with the other sign."""
    found = np.ascontiguousarray(stored).view(np.uint16)
    if negated is not None:
        found[..., negated] ^= np.uint16(0x8000)
    return found.view(np.float16)


def _nibbles(stored: np.ndarray, run: int) -> np.ndarray:
    """Integers of 4 bits: of each `run` bytes the low halves, then the high ones."""
    runs = stored.reshape(*stored.shape[:-1], -1, 1, run)
    both = np.concatenate([runs & 15, runs >> 4], axis=-2)
    return both.reshape(*stored.shape[:-1], -1)


def _planes(stored: np.ndarray, bits: int, order: tuple[int, ...]) -> np.ndarray:
    """Integers of `bits` [.., places, n] in bytes [.., n], `order` the place of each in a byte."""
    shifts = np.array(order, np.uint8)[:, None] * np.uint8(bits)
    return stored[..., None, :] >> shifts & np.uint8((1 << bits) - 1)


def _fifth_bits(stored: np.ndarray) -> np.ndarray:
    """The bits of 4 bytes as 32 integers of 0 or 16."""
    return np.unpackbits(stored, axis=-1, bitorder="little") << 4


def _q4_0(blocks: np.ndarray) -> BlockParts:
    return BlockParts(_nibbles(blocks[..., 2:], 16), _halves(blocks[..., :2]))


def _q4_1(blocks: np.ndarray) -> BlockParts:
    return BlockParts(_nibbles(blocks[..., 4:], 16), _halves(blocks[..., :4]))


def _q5_0(blocks: np.ndarray) -> BlockParts:
    codes = _nibbles(blocks[..., 6:], 16) | _fifth_bits(blocks[..., 2:6])
    return BlockParts(codes, _halves(blocks[..., :2]))


def _q5_1(blocks: np.ndarray) -> BlockParts:
    codes = _nibbles(blocks[..., 8:], 16) | _fifth_bits(blocks[..., 4:8])
    return BlockParts(codes, _halves(blocks[..., :4]))


def _q8_0(blocks: np.ndarray) -> BlockParts:
    return BlockParts(blocks[..., 2:] ^ np.uint8(0x80), _halves(blocks[..., :2]))


def _six_bits(stored: np.ndarray) -> np.ndarray:
    """Factors of 8 scales and 8 minima in 12 bytes [.., 12]: [.., 8, 2].

    The first four of both have 6 bits of a byte; the last four have 4 bits in the last four bytes
    and 2 in the first eight.
    """
    scales, minima, both = stored[..., :4], stored[..., 4:8], stored[..., 8:]
    later = (both & 15 | scales >> 6 << 4, both >> 4 | minima >> 6 << 4)
    pairs = zip((scales & 63, minima & 63), later, strict=True)
    return np.stack([np.concatenate(pair, axis=-1) for pair in pairs], axis=-1)


def _q4_k(blocks: np.ndarray) -> BlockParts:
    scales = _halves(blocks[..., :4], negated=1)
    return BlockParts(_nibbles(blocks[..., 16:], 32), scales, _six_bits(blocks[..., 4:16]))


def _q5_k(blocks: np.ndarray) -> BlockParts:
    fifth = _planes(blocks[..., 16:48], 1, tuple(range(8))) << 4
    codes = _nibbles(blocks[..., 48:], 32) | fifth.reshape(*blocks.shape[:2], -1)
    scales = _halves(blocks[..., :4], negated=1)
    return BlockParts(codes, scales, _six_bits(blocks[..., 4:16]))


def _q6_k(blocks: np.ndarray) -> BlockParts:
    high = _planes(blocks[..., 128:192].reshape(*blocks.shape[:2], 2, 32), 2, (0, 1, 2, 3)) << 4
    low = _nibbles(blocks[..., :128], 64)
    factors = np.ascontiguousarray(blocks[..., 192:208]).view(np.int8)
    return BlockParts(low | high.reshape(low.shape), _halves(blocks[..., 208:]), factors)


def _q2_k(blocks: np.ndarray) -> BlockParts:
    codes = _planes(blocks[..., 16:80].reshape(*blocks.shape[:2], 2, 32), 2, (0, 1, 2, 3))
    factors = np.stack([blocks[..., :16] & 15, blocks[..., :16] >> 4], axis=-1)
    return BlockParts(codes, _halves(blocks[..., 80:], negated=1), factors)


def _q3_k(blocks: np.ndarray) -> BlockParts:
    low = _planes(blocks[..., 32:96].reshape(*blocks.shape[:2], 2, 32), 2, (0, 1, 2, 3))
    third = _planes(blocks[..., :32], 1, tuple(range(8))) << 2
    codes = low.reshape(*blocks.shape[:2], -1) | third.reshape(*blocks.shape[:2], -1)
    # The integers are -4 .. 3, those of 4 bits -8 .. 7.
    stored = blocks[..., 96:108]
    fours = np.concatenate([stored[..., :8] & 15, stored[..., :8] >> 4], axis=-1)
    twos = _planes(stored[..., 8:], 2, (0, 1, 2, 3)).reshape(fours.shape)
    factors = (fours | twos << 4).astype(np.int8) - np.int8(32)
    return BlockParts(codes + np.uint8(4), _halves(blocks[..., 108:]), factors)


def _non_linear(stored: np.ndarray) -> np.ndarray:
    """The integers of 8 bits that integers of 4 bits represent, 16 bytes after the other."""
    return (NON_LINEAR + 128).astype(np.uint8)[_nibbles(stored, 16)]


def _iq4_nl(blocks: np.ndarray) -> BlockParts:
    return BlockParts(_non_linear(blocks[..., 2:]), _halves(blocks[..., :2]))


def _iq4_xs(blocks: np.ndarray) -> BlockParts:
    low = _planes(blocks[..., 4:8], 4, (0, 1)).swapaxes(-1, -2)
    high = _planes(blocks[..., 2:4], 2, (0, 1, 2, 3)).swapaxes(-1, -2)
    shape = (*blocks.shape[:2], 8)
    factors = (low.reshape(shape) | high.reshape(shape) << 4).astype(np.int8) - np.int8(32)
    return BlockParts(_non_linear(blocks[..., 8:]), _halves(blocks[..., :2]), factors)


def _ternary(digits: np.ndarray, scale: np.ndarray) -> BlockParts:
    """Integers -1, 0, 1 as those of 4 bits, -8 .. 7; two groups of 128 with the same scale."""
    return BlockParts(digits + np.uint8(7), _halves(scale).repeat(2, axis=-1))


def _tq2_0(blocks: np.ndarray) -> BlockParts:
    digits = _planes(blocks[..., :64].reshape(*blocks.shape[:2], 2, 32), 2, (0, 1, 2, 3))
    return _ternary(digits, blocks[..., 64:])


def _tq1_0(blocks: np.ndarray) -> BlockParts:
    powers = np.array([1, 3, 9, 27, 81], np.uint8)[:, None]
    parts = ((slice(0, 32), 5), (slice(32, 48), 5), (slice(48, 52), 4))
    # A byte is a fraction of 256 in base 3: each power brings another digit to its front.
    fractions = [
        (blocks[..., None, part] * powers[:count]).reshape(*blocks.shape[:2], -1)
        for part, count in parts
    ]
    digits = np.concatenate(fractions, axis=-1).astype(np.uint16) * 3 >> 8
    return _ternary(digits.astype(np.uint8), blocks[..., 52:])


_FORMATS = (
    ("Q8_0", _q8_0, ("int8", 32)),
    ("Q4_0", _q4_0, ("int4", 32)),
    ("Q4_1", _q4_1, ("int4", 32, "minimum")),
    ("Q5_0", _q5_0, ("int5", 32)),
    ("Q5_1", _q5_1, ("int5", 32, "minimum")),
    ("Q2_K", _q2_k, ("int4", 16, "minimum", 256)),
    ("Q3_K", _q3_k, ("int4", 16, "middle", 256)),
    ("Q4_K", _q4_k, ("int4", 32, "minimum", 256)),
    ("Q5_K", _q5_k, ("int5", 32, "minimum", 256)),
    ("Q6_K", _q6_k, ("int6", 16, "middle", 256)),
    ("TQ1_0", _tq1_0, ("int4", 128)),
    ("TQ2_0", _tq2_0, ("int4", 128)),
    ("IQ4_NL", _iq4_nl, ("int8", 32)),
    ("IQ4_XS", _iq4_xs, ("int8", 32, "middle", 256)),
)
BLOCK_FORMATS = {
    name: BlockFormat(
        EncodingAttr(*encoding),  # type: ignore[arg-type]
        GGML_QUANT_SIZES[GGMLQuantizationType[name]][1],
        split,
    )
    for name, split, encoding in _FORMATS
}
"""Types of GGUF whose blocks are integers of ours."""
