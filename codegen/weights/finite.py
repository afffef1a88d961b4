"""Weights that are no numbers, or none that the artifact can hold: found while they stream by.

What is stored is looked at, once, when it is packed: an infinity or NaN there comes from one in
the checkpoint, or from a value that the stored type does not hold. Only then the tensors that it
was made of are read again, to find which one it is and where.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from xdsl.ir import Operation, SSAValue

from sala_compile.codegen.weights.expressions import BFLOAT16, FLOAT32
from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.dialect import WeightOp, weight_type
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr
from sala_compile.sala_ir.interpreter.weight_rows import RowSource

_FIX = "download the checkpoint again, or ask who trained it: a weight must be a finite number"
_BLOCK = 1 << 22
"""Values of a tensor that are searched at a time."""
_CACHED = 1 << 18
"""Bytes that stay in a processor's cache between the two looks at them."""
_WORDS = {
    BFLOAT16: (np.int16, np.uint16, 0x7F80),
    np.dtype(np.float16): (np.int16, np.uint16, 0x7C00),
    FLOAT32: (np.int32, np.uint32, 0x7F800000),
}
"""Element type -> its bits as integers with and without a sign, and those of infinity."""


def all_finite(values: np.ndarray) -> bool:
    """Whether values of a type of `_WORDS`, contiguous, are finite numbers, all of them.

    The largest bits decide, of the positive as integers with a sign, of the negative without.
    """
    signed, unsigned, infinity = _WORDS[values.dtype]
    negative = infinity + (1 << (8 * values.dtype.itemsize - 1))
    flat, step = values.reshape(-1), _CACHED // values.dtype.itemsize
    for start in range(0, flat.size, step):
        block = flat[start : start + step]
        if block.view(signed).max() >= infinity or block.view(unsigned).max() >= negative:
            return False
    return True


def require_finite(piece: np.ndarray, weight: SSAValue, source: RowSource) -> None:
    """Refuse values of a stored weight that are not finite, with the tensor that they come from."""
    if all_finite(piece):
        return
    names = []
    for name, rows in _tensors(weight, source):
        names.append(name)
        for start, values in rows:
            _refuse_not_finite(name, start, values)
            with np.errstate(over="ignore"):
                kept = values.astype(piece.dtype)
            wrong = _first(~np.isfinite(kept))
            if wrong is not None:
                raise _overflow(name, start, values, wrong, piece.dtype)
    raise CheckpointError(
        "values of a weight overflow when the factors of the model are folded into it",
        where=", ".join(names),
        expected=f"values that {piece.dtype.name} holds",
    )


def require_scales(integers: Integers, weight: SSAValue, source: RowSource) -> None:
    """Refuse scales of rounded rows that float16 does not hold, as `require_finite` does."""
    if np.isfinite(integers.scales).all():
        return
    for name, rows in _tensors(weight, source):
        for start, values in rows:
            _refuse_not_finite(name, start, values)
            _refuse_wide(name, start, values, weight)
    raise CheckpointError(
        "rounding a weight to integers needs a scale that float16 does not hold",
        where=", ".join(name for name, _ in _tensors(weight, source)),
        expected=f"values of at most {widest(weight_type(weight).encoding):.6g} in size",
        fix="compile without --quantize",
    )


@dataclass(frozen=True, slots=True)
class FiniteRows:
    """Rows of a source, each looked at when it is read."""

    source: RowSource

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) of a tensor; CheckpointError if a value is not finite."""
        found = np.ascontiguousarray(self.source.rows(name, start, stop))
        if not all_finite(found):
            _refuse_not_finite(name, start, found)
        return found


def _tensors(
    weight: SSAValue, source: RowSource
) -> Iterator[tuple[str, Iterator[tuple[int, np.ndarray]]]]:
    """The tensors that a weight is made of, each by blocks of rows with their first row."""
    op = weight.owner
    assert isinstance(op, Operation), "a weight is made by an operation"
    if isinstance(op, WeightOp):
        for name, shape in op.tensors.items():
            yield name, _blocks(name, shape, source)
        return
    for operand in op.operands:
        yield from _tensors(operand, source)


def _blocks(
    name: str, shape: tuple[int, ...], source: RowSource
) -> Iterator[tuple[int, np.ndarray]]:
    step = max(1, _BLOCK * shape[0] // max(1, int(np.prod(shape))))
    for start in range(0, shape[0], step):
        yield start, source.rows(name, start, min(start + step, shape[0]))


def _refuse_not_finite(name: str, start: int, values: np.ndarray) -> None:
    wrong = _first(~np.isfinite(values))
    if wrong is not None:
        raise CheckpointError(
            f"{name} holds {float(values[wrong])} at {_place(start, wrong)}",
            where=name,
            expected="finite numbers",
            fix=_FIX,
        )


def _refuse_wide(name: str, start: int, values: np.ndarray, weight: SSAValue) -> None:
    encoding = weight_type(weight).encoding
    most = widest(encoding)
    wrong = _first(np.abs(values.astype(np.float64)) > most)
    if wrong is not None:
        raise CheckpointError(
            f"{name} holds {float(values[wrong]):.6g} at {_place(start, wrong)}, and integers of "
            f"{encoding.bits} bits reach it only with a scale that float16 does not hold",
            where=name,
            expected=f"values of at most {most:.6g} in size",
            fix="compile without --quantize, or with int8, whose scales are smaller",
        )


def _overflow(
    name: str, start: int, values: np.ndarray, wrong: tuple[int, ...], kind: np.dtype
) -> CheckpointError:
    largest = 3.3895313892515355e38 if kind == BFLOAT16 else float(np.finfo(kind).max)
    return CheckpointError(
        f"{name} holds {float(values[wrong]):.9g} at {_place(start, wrong)}, which is infinite "
        f"in {kind.name}",
        where=name,
        expected=f"values of at most {largest:.9g} in size",
        fix=_FIX if kind == FLOAT32 else "compile with --dtype float32",
    )


def widest(encoding: EncodingAttr) -> float:
    """The largest value that integers of an encoding represent, around 0."""
    steps = (1 << (encoding.bits - 1)) - 1
    return float(np.finfo(np.float16).max) * steps


def _first(wrong: np.ndarray) -> tuple[int, ...] | None:
    """The index of the first true value."""
    if not wrong.any():
        return None
    return tuple(int(axis) for axis in np.unravel_index(int(wrong.argmax()), wrong.shape))


def _place(start: int, index: tuple[int, ...]) -> str:
    return str([start + index[0], *cast(Any, index[1:])])
