"""Which weights a quantised model stores as integers, and which stay as they are."""

from enum import StrEnum

from xdsl.ir import Operation, SSAValue

from sala_ir.dialect import (
    BlockSparseAttentionOp,
    EncodingAttr,
    EncodingKind,
    LinearOp,
    OutputGateOp,
    RmsNormOp,
    RopeOp,
    SoftmaxAttentionOp,
)


class Quantization(StrEnum):
    """How the weights of the layers' linears are stored."""

    NONE = "none"
    INT4_G128 = "int4-g128"
    INT4_G32 = "int4-g32"
    INT8 = "int8"

    @property
    def encoding(self) -> EncodingAttr:
        """The encoding of the weights that are quantised; zeros are the middle of the range."""
        return _ENCODINGS[self]


_ENCODINGS = {
    Quantization.NONE: EncodingAttr(),
    Quantization.INT4_G128: EncodingAttr(EncodingKind.INT4, 128),
    Quantization.INT4_G32: EncodingAttr(EncodingKind.INT4, 32),
    Quantization.INT8: EncodingAttr(EncodingKind.INT8, 128),
}


class Role(StrEnum):
    """What a linear of the captured step is for."""

    PROJECTION = "projection"
    """Any linear of a layer that is none of the following."""
    OUTPUT_GATE = "output_gate"
    """Its result passes a sigmoid and multiplies the output of a mixer."""
    ATTENTION_SCORES = "attention_scores"
    """Queries and keys of softmax attention, which also select the blocks."""


FRAGILE = frozenset({Role.OUTPUT_GATE, Role.ATTENTION_SCORES})
"""Roles whose weights keep the element type of the model: an error here is multiplied, by a
whole head's output or through the selection of blocks. Embedding, head, norms and biases are no
linears of the captured step and stay as they are as well."""


def role_of(op: LinearOp) -> Role:
    """The role of a linear before projections are merged and gates are fused."""
    users = list(_readers(op.result))
    if any(isinstance(user, OutputGateOp) and user.gate is value for user, value in users):
        return Role.OUTPUT_GATE
    scores = (BlockSparseAttentionOp, SoftmaxAttentionOp)
    if any(isinstance(user, scores) and value in (user.q, user.k) for user, value in users):
        return Role.ATTENTION_SCORES
    return Role.PROJECTION


def _readers(value: SSAValue) -> list[tuple[Operation, SSAValue]]:
    """Who reads the value, or what norms and rotations make of it, and as which operand."""
    found: list[tuple[Operation, SSAValue]] = []
    for use in value.uses:
        user = use.operation
        if isinstance(user, RmsNormOp | RopeOp) and user.x is value:
            found += _readers(user.result)
        else:
            found.append((user, value))
    return found
