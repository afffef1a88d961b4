"""Integers with the rows of a weight innermost: what a GPU reads, described in `encodings`."""

from collections.abc import Sequence

import numpy as np

from codegen.kernels.operands import padded
from sala_ir.integers import Integers

WORD_CODES = 8
"""Codes of 4 bits in a word."""


def column_codes(integers: Integers, bits: int) -> np.ndarray:
    """The codes of some rows: words [K / 8, rows] of 4 bits, or bytes [K, rows]."""
    if bits == 8:
        return integers.codes.T
    codes = integers.codes.reshape(len(integers), -1, WORD_CODES)
    words = np.zeros(codes.shape[:2], np.uint32)
    for index in range(WORD_CODES):
        words |= codes[:, :, index].astype(np.uint32) << np.uint32(bits * index)
    return words.view(np.int32).T


def joined_columns(pieces: Sequence[np.ndarray]) -> np.ndarray:
    """Pieces [..., rows] side by side, the rows padded with zeros."""
    joined = np.concatenate(pieces, axis=1)
    missing = padded(joined.shape[1]) - joined.shape[1]
    return np.pad(joined, [(0, 0), (0, missing)]) if missing else joined
