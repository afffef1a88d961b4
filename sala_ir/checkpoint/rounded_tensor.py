"""Matrices of stored integers that no encoding of ours holds: rounded again, by request."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.checkpoint.rounding_errors import ErrorSums
from sala_compile.sala_ir.checkpoint.safetensors_file import CheckpointTensor
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr


@dataclass(slots=True)
class RoundedTensor:
    """One weight [N, K] whose values are rounded to the nearest integers of an encoding.

    What that takes from each row is added to `errors` once, however often the row is read.
    """

    checkpoint: Checkpoint
    tensor: CheckpointTensor
    encoding: EncodingAttr
    errors: ErrorSums
    _measured: int = field(default=0, init=False)

    @property
    def members(self) -> tuple[str, ...]:
        """The tensor itself."""
        return (self.tensor.name,)

    def check(self) -> None:
        """Values are looked at when they are read."""

    def whole(self) -> Integers:
        """All rows."""
        return self.rows(0, self.tensor.shape[0])

    def rows(self, start: int, stop: int) -> Integers:
        """Rows [start, stop); CheckpointError for a value that is not finite, or too large."""
        with np.errstate(over="ignore", invalid="ignore"):
            values = self.checkpoint.rows(self.tensor.name, start, stop)
        self._check(values, start, ~np.isfinite(values), "finite numbers")
        with np.errstate(over="ignore"):
            found = Integers.rounded(values, self.encoding)
        wide = ~np.isfinite(found.scales).repeat(self.encoding.group.data, axis=1)
        self._check(values, start, wide[:, : values.shape[1]], "values with a scale of float16")
        first = self._measured - start
        if 0 <= first < stop - start:
            kept = found.slice(first, stop - start)
            self.errors.measure(self.tensor.name, values[first:], kept)
            self._measured = stop
        return found

    def _check(self, values: np.ndarray, start: int, wrong: np.ndarray, expected: str) -> None:
        if wrong.any():
            row, column = (int(axis[0]) for axis in np.nonzero(wrong))
            raise self.tensor.error(
                f"the value of row {start + row}, column {column} is {values[row, column]}",
                expected=expected,
            )
