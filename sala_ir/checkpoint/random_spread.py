"""How far the values of random weights spread, from what reads them in the captured graph.

The spreads keep the residual stream near 1, the scores of attention spread out, so that selection
matters, and the logits near a standard deviation of 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from sala_compile.sala_ir.dialect import (
    BlockSparseAttentionOp,
    EmbeddingOp,
    LinearOp,
    LogitsOp,
    OffsetWeightOp,
    ResidualAddOp,
    RmsNormOp,
    RopeOp,
    SoftmaxAttentionOp,
    WeightOp,
    WeightType,
    columns_of,
    weight_shape,
)


@dataclass(frozen=True, slots=True)
class Spread:
    """The spread of a tensor: normal with this standard deviation, or near 1 for norms.

    Norms are stored less `offset`.
    """

    deviation: float
    is_norm: bool = False
    is_bias: bool = False
    offset: float = 0.0


def spreads(captured: ModuleOp) -> Mapping[str, Spread]:
    """The spread of every tensor that the graph reads, by its name."""
    return {
        name: spread
        for op in captured.walk()
        if isinstance(op, WeightOp)
        for spread in [_spread(op.result)]
        for name in op.tensors
    }


def _spread(tensor: SSAValue) -> Spread:
    reading = list(_uses(tensor))
    for user, weight in reading:
        if isinstance(user, RmsNormOp):
            return Spread(0.0, is_norm=True, offset=_offset(tensor))
        if isinstance(user, LogitsOp):
            hidden = columns_of(user.h)
            return Spread(2.0 / (user.scale.value.data * math.sqrt(hidden)))
        if isinstance(user, LinearOp) and user.bias is weight:
            return Spread(0.2, is_bias=True)
    for user, weight in reading:
        if isinstance(user, EmbeddingOp):
            return Spread(1.0 / user.scale.value.data)
        if isinstance(user, LinearOp):
            return Spread(_gain(user) / math.sqrt(weight_shape(weight)[1]))
    shape = weight_shape(tensor)
    return Spread(0.0, is_norm=True) if len(shape) == 1 else Spread(1.0 / math.sqrt(shape[1]))


def _offset(tensor: SSAValue) -> float:
    """What is added to a tensor before it is read."""
    added = (use.operation for use in tensor.uses if isinstance(use.operation, OffsetWeightOp))
    return next((op.offset.value.data for op in added), 0.0)


def _uses(weight: SSAValue) -> Iterator[tuple[Operation, SSAValue]]:
    """The readers of a weight with the operand that it is, also of what is made of it."""
    for use in weight.uses:
        result = use.operation.results[0] if use.operation.results else None
        if result is not None and isinstance(result.type, WeightType):
            yield from _uses(result)
        else:
            yield use.operation, weight


def _gain(op: LinearOp) -> float:
    """The factor by which a linear's product grows: values and branches keep the stream near 1."""
    for user, value in _readers(op.result):
        if isinstance(user, ResidualAddOp) or getattr(user, "v", None) is value:
            return 1.4
        attention = (BlockSparseAttentionOp, SoftmaxAttentionOp)
        if isinstance(user, attention) and value in (user.q, user.k):
            return 1.6
    return 1.0


def _readers(value: SSAValue) -> Iterator[tuple[Operation, SSAValue]]:
    """The readers of a value, also through norms and rotations, with the operand that it is."""
    for use in value.uses:
        user = use.operation
        if isinstance(user, RmsNormOp | RopeOp) and user.x is value:
            yield from _readers(user.result)
        else:
            yield user, value
