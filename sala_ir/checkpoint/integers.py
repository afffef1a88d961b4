"""Rows of a weight in an integer encoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr
from sala_compile.sala_ir.reference import round_to_integers


@dataclass(frozen=True, slots=True)
class Integers:
    """value[r, k] = scale[r, g] * (codes[r, k] - zeros[r, g]) + minimum[r, g], g = k // group.

    `codes` uint8 [rows, groups * group], columns padded to whole groups with values of 0; `zeros`
    uint8 [rows, groups], also those that are not stored: the middle of the range, or 0 if there are
    minima. `scales` float16 [rows, groups], or [rows, 2 * groups], a scale and a minimum in turn.
    With `factors` int8 [rows, (2 *) groups], which else have no columns, `scales` are those of
    super-blocks: the scale or minimum of a group is the product of both.
    """

    codes: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray
    factors: np.ndarray

    @staticmethod
    def of_groups(codes: np.ndarray, scales: np.ndarray, zeros: np.ndarray) -> Integers:
        """Integers whose groups have a scale of their own, and no minimum."""
        return Integers(codes, scales, zeros, np.empty((len(codes), 0), np.int8))

    @staticmethod
    def rounded(rows: np.ndarray, encoding: EncodingAttr) -> Integers:
        """Plain rounding of rows [n, K], the same integers as the reference's in float64."""
        levels, scale, zero = round_to_integers(
            rows.astype(np.float64),
            bits=encoding.bits,
            group=encoding.group.data,
            stores_zeros=encoding.stores_zeros,
        )
        return Integers.of_groups(
            levels.astype(np.uint8).reshape(len(rows), -1),
            scale[:, :, 0].astype(np.float16),
            zero[:, :, 0].astype(np.uint8),
        )

    @staticmethod
    def empty(rows: int, columns: int, encoding: EncodingAttr) -> Integers:
        """Rows of value 0."""
        group, zero = encoding.group.data, 0 if encoding.has_minima else 1 << (encoding.bits - 1)
        groups, entries = -(-columns // group), encoding.entries
        factors = groups * entries if encoding.super_block.data else 0
        return Integers(
            np.full((rows, groups * group), zero, np.uint8),
            np.zeros((rows, -(-columns // encoding.scaled) * entries), np.float16),
            np.full((rows, groups), zero, np.uint8),
            np.zeros((rows, factors), np.int8),
        )

    @staticmethod
    def joined(parts: Sequence[Integers]) -> Integers:
        """The rows of all parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return Integers(*map(np.concatenate, zip(*(part.arrays for part in parts), strict=True)))

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Codes, scales, zeros and factors."""
        return self.codes, self.scales, self.zeros, self.factors

    def __len__(self) -> int:
        """Rows."""
        return len(self.codes)

    def slice(self, start: int, stop: int) -> Integers:
        """Rows [start, stop)."""
        return Integers(*(array[start:stop] for array in self.arrays))

    def values(self, columns: int) -> np.ndarray:
        """The values of the integers, float32 [rows, columns]: exact, the sum with a minimum
        rounded once.
        """
        rows, groups = self.zeros.shape
        steps = self.codes.reshape(rows, groups, -1).astype(np.float32)
        steps -= self.zeros[:, :, None].astype(np.float32)
        scales = self.group_scales()
        steps *= scales[:, :, :1]
        if scales.shape[2] == 2:
            steps += scales[:, :, 1:]
        return steps.reshape(rows, -1)[:, :columns]

    def group_scales(self) -> np.ndarray:
        """The scale of each group, and its minimum or not, exact: [rows, groups, 1 or 2]."""
        rows, groups = self.zeros.shape
        scales = self.scales.astype(np.float32)
        if not self.factors.shape[1]:
            return scales.reshape(rows, groups, scales.shape[1] // groups)
        entries = self.factors.shape[1] // groups
        factors = self.factors.astype(np.float32).reshape(rows, groups, entries)
        count = scales.shape[1] // entries
        return scales.reshape(rows, count, entries).repeat(groups // count, axis=1) * factors
