"""Rounding to integers so that errors cancel in the products that the weight is for (GPTQ).

A linear multiplies W [N, K] by inputs whose second moments are H = X^T X = L L^T, L lower
triangular. The squared error of its output over the calibration inputs is |(W - Q) L|^2. Its
column k, sum over j >= k of (W - Q)[:, j] L[j, k], depends on the integers of columns k and
after it only: so columns are rounded from the last to the first, each to the grid point that makes
its own column smallest, w_k + (sum over j > k of (w_j - q_j) L[j, k]) / L[k, k]. That is the
update of the GPTQ paper, without the inverse of H.
"""

from dataclasses import dataclass

import numpy as np

from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr
from sala_compile.sala_ir.reference import scale_and_zero

STEP = 16
"""Columns of a group whose errors are carried to those before them in one product."""


@dataclass(frozen=True, slots=True)
class Rounder:
    """Rounds rows of one matrix [.., K] for `factor`, the L of its inputs [K, K].

    `order` gives the column of W at each column of L; None is the natural order, in
    which a group's scale is found when the group is reached, from its updated weights. In another
    order the scales come from the weights as they were.
    """

    factor: np.ndarray
    encoding: EncodingAttr
    order: np.ndarray | None = None

    def round(self, rows: np.ndarray) -> tuple[Integers, np.ndarray]:
        """The integers of rows [n, K], and what was lost: rows - values, float32 [n, K]."""
        depth, group = rows.shape[1], self.encoding.group.data
        columns = np.arange(depth) if self.order is None else self.order
        left = np.array(rows.T, np.float32, order="C")  # becomes the error
        if self.order is not None:
            left = left[columns]
        grid = _Grid.of(rows, self.encoding)
        integers = Integers.empty(len(rows), depth, self.encoding)
        codes = np.ascontiguousarray(integers.codes.T)
        for start in reversed(range(0, depth, group)):
            stop = min(start + group, depth)
            # [group, n]: errors of the columns that are rounded already, from the last one back.
            carried = self.factor[stop:, start:stop].T @ left[stop:]
            if self.order is None:
                corner = self.factor[start:stop, start:stop]
                # The group's grid is fitted to the weights as these errors move them.
                updated = left[start:stop] + np.linalg.inv(np.tril(corner)).T @ carried
                grid.set(start // group, updated)
            for first in reversed(range(start, stop, STEP)):
                last = min(first + STEP, stop)
                nearer = carried[first - start : last - start]
                nearer += self.factor[last:stop, first:last].T @ left[last:stop]
                for place in reversed(range(first, last)):
                    later = self.factor[place + 1 : last, place] @ left[place + 1 : last]
                    later += nearer[place - first]
                    later /= self.factor[place, place]
                    column = int(columns[place])
                    codes[column], value = grid.nearest(column // group, left[place] + later)
                    # From here on the row holds the error: weight less rounded value.
                    left[place] -= value
        lost = left
        if self.order is not None:
            lost = np.empty_like(left)
            lost[columns] = left
        return Integers.of_groups(np.ascontiguousarray(codes.T), *grid.parts), lost.T


@dataclass(frozen=True, slots=True)
class _Grid:
    """Scale and zero of every group, float32 [groups, n]."""

    scales: np.ndarray
    zeros: np.ndarray
    encoding: EncodingAttr

    @staticmethod
    def of(rows: np.ndarray, encoding: EncodingAttr) -> "_Grid":
        group = encoding.group.data
        groups = -(-rows.shape[1] // group)
        shape = (groups, len(rows))
        grid = _Grid(np.empty(shape, np.float32), np.empty(shape, np.float32), encoding)
        for index in range(groups):
            grid.set(index, rows[:, index * group : (index + 1) * group].T)
        return grid

    def set(self, group: int, columns: np.ndarray) -> None:
        """Fit a group's grid to its weights [columns, n]."""
        encoding = self.encoding
        grouped = columns.T.astype(np.float32)[:, None, :]
        scale, zero = scale_and_zero(grouped, encoding.bits, encoding.stores_zeros)
        self.scales[group], self.zeros[group] = scale[:, 0, 0], zero[:, 0, 0]

    def nearest(self, group: int, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codes and values of the nearest points of a group's grid."""
        scale, zero = self.scales[group], self.zeros[group]
        codes = np.rint(wanted / np.where(scale > 0, scale, 1)) + zero
        codes = np.clip(codes, 0, (1 << self.encoding.bits) - 1)
        return codes.astype(np.uint8), scale * (codes - zero)

    @property
    def parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Scales and zeros as they are stored, [n, groups]."""
        scales = np.ascontiguousarray(self.scales.T).astype(np.float16)
        return scales, np.ascontiguousarray(self.zeros.T).astype(np.uint8)
