"""Seeded operands for one operation, as the reference takes them."""

from typing import Any, cast

import numpy as np
from xdsl.dialects.builtin import BFloat16Type, IntegerType, TensorType
from xdsl.ir import Attribute, Operation, SSAValue

from sala_compile.codegen.vectors.batch import VectorBatch
from sala_compile.passes.support.kernel_choice import base_and_start
from sala_compile.sala_ir.dialect.attributes import Rows
from sala_compile.sala_ir.dialect.base import SalaOp, rows_of
from sala_compile.sala_ir.dialect.types import (
    BatchType,
    CompressedKeysType,
    KvCacheType,
    RecurrentStateType,
    StateType,
)
from sala_compile.sala_ir.reference import to_bfloat16
from sala_compile.sala_ir.reference.cache import COARSE_FACTOR, complete_windows


class Inputs:
    """Values of the operands of `op` but its weights, the same for the same seed.

    Activations are made for the whole buffers that slices view (`bases`).
    """

    def __init__(self, op: SalaOp, batch: VectorBatch, seed: int) -> None:
        self.batch = batch
        self.bases: dict[SSAValue, np.ndarray] = {}
        self._op = op
        self._random = np.random.default_rng(seed)

    def value(self, operand: SSAValue) -> Any:
        """What the reference takes for an operand."""
        kind = operand.type
        match kind:
            case BatchType():
                return self.batch.reference
            case StateType():
                return self._state(kind)
            case TensorType() if isinstance(kind.element_type, IntegerType):
                return self._integers(operand)
            case TensorType():
                return self._activation(operand)
        raise AssertionError(f"no value is made for {kind}")

    def _activation(self, operand: SSAValue) -> np.ndarray:
        base, start = base_and_start(operand)
        if base not in self.bases:
            is_late = rows_of(base) is Rows.LOGIT_ROWS
            rows = len(self.batch.parts) if is_late else self.batch.tokens
            columns = cast(TensorType, base.type).get_shape()[1]
            self.bases[base] = self._numbers(base.type, rows, columns)
        return self.bases[base][:, start : start + cast(TensorType, operand.type).get_shape()[1]]

    def _numbers(self, kind: Any, *shape: int) -> np.ndarray:
        """Normal numbers that the element type represents, float64."""
        values = self._random.standard_normal(shape)
        narrow = isinstance(kind.element_type, BFloat16Type)
        return to_bfloat16(values) if narrow else values.astype(np.float32).astype(np.float64)

    def _integers(self, operand: SSAValue) -> np.ndarray:
        name = _operand_name(self._op, operand)
        if name == "rows":
            return self.batch.logit_rows
        if name == "tokens":
            vocabulary = cast(Any, self._op.operands[1].type).get_shape()[0]
            return self._random.integers(0, vocabulary, self.batch.tokens).astype(np.int32)
        blocks, counts = self._selection()
        return blocks if name == "blocks" else counts

    def _selection(self) -> tuple[np.ndarray, np.ndarray]:
        """Ascending blocks that end with the own one; a sequence whose call is short is dense."""
        kind = cast(TensorType, next(o.type for o in self._op.operands if _rank(o.type) == 3))
        _, heads, budget = kind.get_shape()
        random = np.random.default_rng(len(self.batch.parts))
        blocks = np.full((self.batch.tokens, heads, budget), -1, np.int32)
        counts = np.full((self.batch.tokens, heads), -1, np.int32)
        for part in self.batch.reference:
            if part.call_length == part.length and part.history < self.batch.block_size:
                continue
            for row, position in zip(range(part.start, part.stop), part.positions, strict=True):
                own = int(position) // self.batch.block_size
                for head in range(heads):
                    count = min(budget, own + 1, 1 + int(random.integers(budget)))
                    chosen = np.sort(random.permutation(own)[: count - 1])
                    blocks[row, head, :count] = [*chosen, own]
                    counts[row, head] = count
        return blocks, counts

    def _state(self, kind: StateType) -> dict[int, Any]:
        """The state of every slot; of a cache that is only read, the new tokens' too."""
        is_read = not any(isinstance(r.type, type(kind)) for r in self._op.results)
        state: dict[int, Any] = {}
        for part in self.batch.reference:
            length = part.length if is_read else part.history
            if isinstance(kind, RecurrentStateType):
                if part.history:
                    state[part.slot] = self._numbers(kind, *kind.sizes)
                continue
            state[part.slot] = tuple(
                self._numbers(kind, count, kind.sizes[0], kind.sizes[-1])
                for count in _lengths(kind, length)
            )
        return state


def _lengths(kind: StateType, length: int) -> tuple[int, int]:
    if isinstance(kind, KvCacheType):
        return length, length
    assert isinstance(kind, CompressedKeysType)
    size, stride = kind.kernel_size.data, kind.kernel_stride.data
    fine = complete_windows(length, size, stride)
    coarse = complete_windows(length, COARSE_FACTOR * size, COARSE_FACTOR * stride)
    return fine, coarse


def _rank(kind: Attribute) -> int:
    return kind.get_num_dims() if isinstance(kind, TensorType) else 0


def _operand_name(op: Operation, operand: SSAValue) -> str:
    names = ("tokens", "rows", "blocks", "counts")
    return next(name for name in names if getattr(op, name, None) is operand)
