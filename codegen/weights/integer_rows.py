"""Weight-side expressions of integer encodings, read a few rows at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from xdsl.ir import Operation, SSAValue

from sala_compile.codegen.weights.expressions import RowSource, readable, weight_type
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.checkpoint.integers import Integers


class IntegerSource(RowSource, Protocol):
    """Weights by name, some of them stored as integers."""

    def integers(self, name: str, start: int, stop: int) -> Integers:
        """Rows [start, stop) of a tensor that is stored as integers."""
        ...


Measure = Callable[[str, np.ndarray, Integers], None]
"""Told the tensor, some of its rows before rounding, and their integers."""


@dataclass(frozen=True, slots=True)
class IntegerValue:
    """A weight of integers: `read(start, stop)` gives rows."""

    rows: int
    read: Callable[[int, int], Integers]


def integer_rows(
    value: SSAValue, source: RowSource, measure: Measure | None = None
) -> IntegerValue:
    """A weight expression of an integer encoding; row-major expressions only."""
    op = value.owner
    assert isinstance(op, Operation), "a weight is made by an operation"
    parameters: dict[str, Any] = cast(Any, op).parameters
    if op.name == "sala.quantize_weight":
        return _rounded(value, source, measure)
    parts = [integer_rows(operand, source, measure) for operand in op.operands]
    match op.name:
        case "sala.weight":
            name, stored = parameters["tensor_name"], cast(IntegerSource, source)
            rows = weight_type(value).get_shape()[0]
            return IntegerValue(rows, lambda start, stop: stored.integers(name, start, stop))
        case "sala.cast_weight":
            return parts[0]
        case "sala.concat_weights":
            return _concatenated(parts)
        case "sala.interleave_weights":
            return _interleaved(value, parts, parameters["group"])
    raise CompileError(f"{op.name} is not an expression over integer weights that can be packed")


def _rounded(value: SSAValue, source: RowSource, measure: Measure | None) -> IntegerValue:
    op = cast(Any, value.owner)
    encoding = weight_type(value).encoding
    plain = readable(op.weight, source)
    tensor = op.weight.owner.parameters.get("tensor_name", "")

    def read(start: int, stop: int) -> Integers:
        rows = plain.read(start, stop)
        integers = Integers.rounded(rows, encoding)
        if measure is not None:
            measure(tensor, rows, integers)
        return integers

    return IntegerValue(plain.shape[0], read)


def _concatenated(parts: Sequence[IntegerValue]) -> IntegerValue:
    firsts = np.cumsum([0, *(part.rows for part in parts)]).tolist()

    def read(start: int, stop: int) -> Integers:
        pieces = []
        for part, first in zip(parts, firsts, strict=False):
            low, high = max(start - first, 0), min(stop - first, part.rows)
            if low < high:
                pieces.append(part.read(low, high))
        return Integers.joined(pieces)

    return IntegerValue(firsts[-1], read)


def _interleaved(value: SSAValue, parts: Sequence[IntegerValue], group: int) -> IntegerValue:
    """`group` rows of each part in turn, with rows of zeros behind the last."""
    kind = weight_type(value)
    columns, rows = kind.get_shape()[1], parts[0].rows

    def padded(part: IntegerValue, first: int, last: int) -> Integers:
        low, high = min(first * group, rows), min(last * group, rows)
        missing = Integers.empty((last - first) * group - (high - low), columns, kind.encoding)
        return Integers.joined([part.read(low, high), missing])

    def read(start: int, stop: int) -> Integers:
        first, last = start // (2 * group), -(-stop // (2 * group))
        gate, up = (padded(part, first, last) for part in parts)
        merged = Integers.joined([gate, up])
        order = np.arange(len(merged)).reshape(2, -1, group).transpose(1, 0, 2).reshape(-1)
        chosen = order[start - first * 2 * group : stop - first * 2 * group]
        return Integers(merged.codes[chosen], merged.scales[chosen], merged.zeros[chosen])

    return IntegerValue(2 * group * -(-rows // group), read)
