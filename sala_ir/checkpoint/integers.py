"""Rows of a weight in an integer encoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr
from sala_compile.sala_ir.reference import round_to_integers


@dataclass(frozen=True, slots=True)
class Integers:
    """value[r, k] = scales[r, k // group] * (codes[r, k] - zeros[r, k // group]).

    `codes` uint8 [rows, groups * group], columns padded to whole groups with values of 0;
    `scales` float16 and `zeros` uint8 [rows, groups]. Zeros that are the middle of the range are
    here too, though they are not stored.
    """

    codes: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray

    @staticmethod
    def rounded(rows: np.ndarray, encoding: EncodingAttr) -> Integers:
        """Plain rounding of rows [n, K], the same integers as the reference's in float64."""
        levels, scale, zero = round_to_integers(
            rows.astype(np.float64),
            bits=encoding.bits,
            group=encoding.group.data,
            stores_zeros=encoding.stores_zeros,
        )
        return Integers(
            levels.astype(np.uint8).reshape(len(rows), -1),
            scale[:, :, 0].astype(np.float16),
            zero[:, :, 0].astype(np.uint8),
        )

    @staticmethod
    def empty(rows: int, columns: int, encoding: EncodingAttr) -> Integers:
        """Rows of value 0."""
        group, middle = encoding.group.data, 1 << (encoding.bits - 1)
        groups = -(-columns // group)
        return Integers(
            np.full((rows, groups * group), middle, np.uint8),
            np.zeros((rows, groups), np.float16),
            np.full((rows, groups), middle, np.uint8),
        )

    @staticmethod
    def joined(parts: Sequence[Integers]) -> Integers:
        """The rows of all parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return Integers(
            np.concatenate([part.codes for part in parts]),
            np.concatenate([part.scales for part in parts]),
            np.concatenate([part.zeros for part in parts]),
        )

    def __len__(self) -> int:
        """Rows."""
        return len(self.codes)

    def slice(self, start: int, stop: int) -> Integers:
        """Rows [start, stop)."""
        rows = slice(start, stop)
        return Integers(self.codes[rows], self.scales[rows], self.zeros[rows])

    def values(self, columns: int) -> np.ndarray:
        """The values of the integers, exactly: float32 [rows, columns]."""
        rows, groups = self.scales.shape
        steps = self.codes.reshape(rows, groups, -1).astype(np.float32)
        steps -= self.zeros[:, :, None].astype(np.float32)
        steps *= self.scales[:, :, None].astype(np.float32)
        return steps.reshape(rows, -1)[:, :columns]
