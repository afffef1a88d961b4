"""Weight-side expressions, evaluated a few rows at a time while the checkpoint streams by.

A reader gives any range of rows of a weight value, in float32 or bfloat16 (as `ml_dtypes`), so
that no tensor is ever whole in memory: what is packed next is all that is read.
"""

from collections.abc import Callable
from typing import Any, Protocol, cast

import ml_dtypes
import numpy as np
from xdsl.dialects.builtin import BFloat16Type
from xdsl.ir import Attribute, Operation, SSAValue

from runtime.errors import CompileError
from sala_ir.dialect.types import WeightType

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT32 = np.dtype(np.float32)


class RowSource(Protocol):
    """A checkpoint, seen by rows."""

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) of a stored tensor (elements, where it has one dimension)."""
        ...


def numpy_element(element: Attribute) -> np.dtype:
    """The NumPy type of a weight's element type."""
    return BFLOAT16 if isinstance(element, BFloat16Type) else FLOAT32


def weight_type(value: SSAValue) -> WeightType:
    """The type of a weight value."""
    return cast(WeightType, value.type)


def row_count(value: SSAValue) -> int:
    """The rows of a weight value (elements, where it has one dimension)."""
    return weight_type(value).get_shape()[0]


class WeightReader:
    """Reads row ranges of weight-side values from a checkpoint."""

    def __init__(self, source: RowSource):
        self._source = source
        self._readers: dict[str, Callable[[Any, int, int], np.ndarray]] = {
            "sala.weight": self._stored,
            "sala.concat_weights": self._concatenated,
            "sala.interleave_weights": self._interleaved,
            "sala.scale_weight": self._scaled,
            "sala.cast_weight": self._cast,
        }

    def rows(self, value: SSAValue, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) of `value` in its element type; rows beyond its last are zero."""
        last = row_count(value)
        if stop > last:
            return self._zero_padded(value, start, stop, last)
        owner = value.owner
        if not isinstance(owner, Operation) or owner.name not in self._readers:
            name = owner.name if isinstance(owner, Operation) else "an argument"
            raise CompileError(f"{name} is not a weight expression that can be packed")
        found = self._readers[owner.name](owner, start, stop)
        return found.astype(numpy_element(weight_type(value).element_type), copy=False)

    def _zero_padded(self, value: SSAValue, start: int, stop: int, last: int) -> np.ndarray:
        kind = weight_type(value)
        shape = (stop - start, *kind.get_shape()[1:])
        padded = np.zeros(shape, numpy_element(kind.element_type))
        if start < last:
            padded[: last - start] = self.rows(value, start, last)
        return padded

    def _stored(self, op: Any, start: int, stop: int) -> np.ndarray:
        return self._source.rows(op.parameters["tensor_name"], start, stop)

    def _concatenated(self, op: Any, start: int, stop: int) -> np.ndarray:
        if op.parameters["axis"] == 1:
            return np.concatenate([self.rows(part, start, stop) for part in op.operands], axis=1)
        pieces, first = [], 0
        for part in op.operands:
            low, high = max(start, first), min(stop, first + row_count(part))
            if low < high:
                pieces.append(self.rows(part, low - first, high - first))
            first += row_count(part)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _interleaved(self, op: Any, start: int, stop: int) -> np.ndarray:
        group, count = op.parameters["group"], len(op.operands)
        first, last = start // (group * count), -(-stop // (group * count))
        parts = [self.rows(part, first * group, last * group) for part in op.operands]
        grouped = [part.reshape(last - first, 1, group, *part.shape[1:]) for part in parts]
        merged = np.concatenate(grouped, axis=1).reshape(-1, *parts[0].shape[1:])
        offset = first * group * count
        return merged[start - offset : stop - offset]

    def _scaled(self, op: Any, start: int, stop: int) -> np.ndarray:
        rows = self.rows(op.operands[0], start, stop)
        return rows.astype(np.float32) * np.float32(op.parameters["factor"])

    def _cast(self, op: Operation, start: int, stop: int) -> np.ndarray:
        return self.rows(op.operands[0], start, stop)
