"""Weight-side values: read rows at a time, whole only at a request.

A checkpoint of any size can so be interpreted, or packed, with one block of one tensor in memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from array_api_compat import array_namespace
from xdsl.ir import SSAValue

from sala_compile.sala_ir.dialect import (
    CastWeightOp,
    ConcatWeightsOp,
    HeadRowsOp,
    InterleaveWeightsOp,
    OffsetWeightOp,
    PackWeightOp,
    QuantizeWeightOp,
    SalaOp,
    ScaleWeightOp,
    SliceWeightOp,
    TransposeWeightOp,
    WeightOp,
    WeightType,
    round_up,
    weight_shape,
    weight_type,
)
from sala_compile.sala_ir.dialect.weights import EXPERT_ROWS
from sala_compile.sala_ir.reference.arrays import Array, take_rows

BLOCK_VALUES = 1 << 23
"""Values of a weight that are in memory at once when it is read in blocks."""


@runtime_checkable
class RowSource(Protocol):
    """Weights by name, seen by rows."""

    def rows(self, name: str, start: int, stop: int) -> Array:
        """Rows [start, stop) of a tensor (elements, where it has one dimension)."""
        ...


Weights = RowSource | Mapping[str, Array] | Callable[[str], Array]
"""Where weights come from: rows of a checkpoint, a mapping, or a function from name to tensor."""


@dataclass(frozen=True, slots=True)
class WholeTensors:
    """Rows of tensors that a function gives whole."""

    tensor: Callable[[str], Array]

    def rows(self, name: str, start: int, stop: int) -> Array:
        """Rows [start, stop) of the tensor."""
        found = self.tensor(name)
        return found if (start, stop) == (0, found.shape[0]) else found[start:stop, ...]


def row_source(weights: Weights) -> RowSource:
    """See weights of any accepted kind by rows."""
    if isinstance(weights, Mapping):
        return WholeTensors(cast(Mapping[str, Array], weights).__getitem__)
    return weights if isinstance(weights, RowSource) else WholeTensors(weights)


@dataclass(frozen=True, slots=True)
class WeightValue:
    """A weight of the graph: `read(start, stop)` gives a block of rows, as an arithmetic has it."""

    shape: tuple[int, ...]
    read: Callable[[int, int], Any]

    def whole(self) -> Any:
        """All rows."""
        return self.read(0, self.shape[0])

    def take(self, rows: Array) -> Any:
        """The rows that `rows` names, in that order."""
        if self._size <= BLOCK_VALUES or not isinstance(rows, np.ndarray):
            return take_rows(self.whole(), rows)
        distinct, places = np.unique(cast("np.ndarray", rows), return_inverse=True)
        parts = [self.read(int(row), int(row) + 1) for row in distinct]
        return take_rows(array_namespace(*parts).concat(parts, axis=0), places)

    def blocks(self) -> Iterator[Any]:
        """All rows, in blocks of at most `BLOCK_VALUES` values."""
        step = max(1, BLOCK_VALUES * self.shape[0] // self._size)
        for start in range(0, self.shape[0], step):
            yield self.read(start, min(start + step, self.shape[0]))

    def map(self, function: Callable[[Any], Any]) -> "WeightValue":
        """The weight with `function` applied to its rows; it keeps the shape."""
        return WeightValue(self.shape, lambda start, stop: function(self.read(start, stop)))

    @property
    def _size(self) -> int:
        return int(np.prod(self.shape))


Rowwise = ScaleWeightOp | OffsetWeightOp | CastWeightOp | QuantizeWeightOp
"""Operations whose result has the rows of the operand, each computed from its own."""


class WeightArithmetic(Protocol):
    """The operations of an evaluation of weights on blocks of rows.

    A block is an array, or rows in an integer encoding, as `stored` and `compute` give them.
    """

    def stored(self, name: str, kind: WeightType) -> Callable[[int, int], Any]:
        """The reader of rows [start, stop) of a tensor of the checkpoint, as `kind` says."""
        ...

    def padding(self, rows: int, kind: WeightType, like: Any) -> Any:
        """So many rows of value 0, of the kind of the block `like`."""
        ...

    def compute(self, op: Rowwise, rows: Any) -> Any:
        """A block of rows of the result, from the same rows of the weight."""
        ...

    def concat(self, blocks: Sequence[Any], axis: int) -> Any:
        """Blocks side by side along the axis; there are at least two."""
        ...

    def interleave(self, op: InterleaveWeightsOp, gate: Any, up: Any, rows: slice) -> Any:
        """Some rows of the operation's result on whole groups of rows, or the last, of both."""
        ...


def weight_value(
    op: SalaOp, parts: Sequence[WeightValue], arithmetic: WeightArithmetic
) -> WeightValue:
    """The result of a weight-side operation whose operands are `parts`.

    This is the one evaluator of weight expressions: the interpreter and packing differ in their
    arithmetic. `TypeError` for any other operation.
    """
    shape = weight_shape(op.results[0])
    match op:
        case WeightOp() if op.experts.value.data:
            return WeightValue(shape, _stacked(op, arithmetic))
        case WeightOp():
            return WeightValue(
                shape, arithmetic.stored(op.tensor_name.data, weight_type(op.result))
            )
        case ConcatWeightsOp():
            side_by_side = op.axis.value.data == 1
            read = _columns(parts, arithmetic) if side_by_side else _rows(parts, arithmetic)
            return WeightValue(shape, read)
        case InterleaveWeightsOp():
            return WeightValue(shape, _interleaved(op, parts, arithmetic))
        case ScaleWeightOp() | OffsetWeightOp() | CastWeightOp() | QuantizeWeightOp():
            return parts[0].map(partial(arithmetic.compute, op))
        case PackWeightOp():
            return parts[0]
        case SliceWeightOp():
            return WeightValue(shape, _sliced(op, parts[0], arithmetic))
        case TransposeWeightOp():
            return WeightValue(shape, _transposed(parts[0]))
        case HeadRowsOp():
            return WeightValue(shape, _head_rows(op, parts[0]))
        case _:
            raise TypeError(f"{op.name} is no operation on weights")


def evaluated(value: SSAValue, arithmetic: WeightArithmetic) -> WeightValue:
    """A whole expression over tensors of a checkpoint."""
    op = value.owner
    assert isinstance(op, SalaOp), "weights are results of weight-side operations"
    parts = [evaluated(operand, arithmetic) for operand in op.operands]
    return weight_value(op, parts, arithmetic)


def _stacked(op: WeightOp, arithmetic: WeightArithmetic) -> Callable[[int, int], Any]:
    """Rows of experts, one below the other, each padded."""
    kind, rows = weight_type(op.result), op.expert_rows.value.data
    pitch = round_up(rows, EXPERT_ROWS)
    readers = [arithmetic.stored(name, kind) for name in op.tensors]

    def read(start: int, stop: int) -> Any:
        blocks: list[Any] = []
        for expert in range(start // pitch, -(-stop // pitch)):
            first, last = max(start - expert * pitch, 0), min(stop - expert * pitch, pitch)
            if first < rows:
                blocks.append(readers[expert](first, min(last, rows)))
            missing = last - max(first, rows)
            if missing > 0:
                like = blocks[-1] if blocks else readers[expert](0, 1)
                blocks.append(arithmetic.padding(missing, kind, like))
        return blocks[0] if len(blocks) == 1 else arithmetic.concat(blocks, 0)

    return read


def _columns(
    parts: Sequence[WeightValue], arithmetic: WeightArithmetic
) -> Callable[[int, int], Any]:
    return lambda start, stop: arithmetic.concat([part.read(start, stop) for part in parts], 1)


def _rows(parts: Sequence[WeightValue], arithmetic: WeightArithmetic) -> Callable[[int, int], Any]:
    firsts = np.cumsum([0, *(part.shape[0] for part in parts)]).tolist()

    def read(start: int, stop: int) -> Any:
        blocks: list[Any] = []
        for part, first in zip(parts, firsts, strict=False):
            low, high = max(start - first, 0), min(stop - first, part.shape[0])
            if low < high:
                blocks.append(part.read(low, high))
        return blocks[0] if len(blocks) == 1 else arithmetic.concat(blocks, 0)

    return read


def _sliced(
    op: SliceWeightOp, part: WeightValue, arithmetic: WeightArithmetic
) -> Callable[[int, int], Any]:
    """Rows of a slice, of each period if there are several."""
    first, size = op.start.value.data, op.size.value.data
    period = op.period.value.data or part.shape[0]

    def read(start: int, stop: int) -> Any:
        blocks: list[Any] = []
        for turn in range(start // size, -(-stop // size)):
            low, high = max(start - turn * size, 0), min(stop - turn * size, size)
            begin = turn * period + first
            blocks.append(part.read(begin + low, begin + high))
        return blocks[0] if len(blocks) == 1 else arithmetic.concat(blocks, 0)

    return read


def _transposed(part: WeightValue) -> Callable[[int, int], Any]:
    def read(start: int, stop: int) -> Any:
        whole = part.whole()
        return array_namespace(whole).matrix_transpose(whole)[start:stop, ...]

    return read


def _head_rows(op: HeadRowsOp, part: WeightValue) -> Callable[[int, int], Any]:
    heads, first, size = (each.value.data for each in (op.heads, op.start, op.size))

    def read(start: int, stop: int) -> Any:
        whole = part.whole()
        xp, columns = array_namespace(whole), whole.shape[1]
        rows = xp.reshape(whole, (heads, whole.shape[0] // heads, columns))
        rows = rows[:, first : first + size, :]
        if op.transposed.value.data:
            rows = xp.matrix_transpose(rows)
        return xp.reshape(rows, weight_shape(op.result))[start:stop, :]

    return read


def _interleaved(
    op: InterleaveWeightsOp, parts: Sequence[WeightValue], arithmetic: WeightArithmetic
) -> Callable[[int, int], Any]:
    (gate, up), group = parts, op.group.value.data
    rows = gate.shape[0]

    def read(start: int, stop: int) -> Any:
        first, last = start // (2 * group), -(-stop // (2 * group))
        low, high = first * group, min(last * group, rows)
        chosen = slice(start - 2 * low, stop - 2 * low)
        return arithmetic.interleave(op, gate.read(low, high), up.read(low, high), chosen)

    return read
