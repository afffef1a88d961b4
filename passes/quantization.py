"""Which weights a quantised model stores as integers, and which stay as they are."""

from collections.abc import Mapping
from enum import StrEnum

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import Rewriter

from sala_ir.dialect import (
    BlockSparseAttentionOp,
    EncodingAttr,
    EncodingKind,
    LinearOp,
    OutputGateOp,
    RmsNormOp,
    RopeOp,
    SoftmaxAttentionOp,
    WeightOp,
    WeightType,
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


def linear_roles(module: ModuleOp) -> dict[str, Role]:
    """What the checkpoint's tensors are for that are weights of linears in a captured module."""
    roles: dict[str, Role] = {}
    for op in module.walk():
        if isinstance(op, LinearOp) and isinstance(op.weight.owner, WeightOp):
            roles[op.weight.owner.tensor_name.data] = role_of(op)
    return roles


def quantized_tensors(module: ModuleOp, quantization: Quantization) -> dict[str, EncodingAttr]:
    """The tensors that a quantisation stores as integers, and how."""
    if quantization is Quantization.NONE:
        return {}
    roles = linear_roles(module).items()
    return {name: quantization.encoding for name, role in roles if role not in FRAGILE}


def store_as_integers(module: ModuleOp, encodings: Mapping[str, EncodingAttr]) -> None:
    """Give tensors that a source stores as integers the type that says so, in place."""
    for op in module.walk():
        if isinstance(op, WeightOp) and op.tensor_name.data in encodings:
            kind = op.result.type
            assert isinstance(kind, WeightType)
            encoded = kind.with_encoding(encodings[op.tensor_name.data])
            Rewriter.replace_value_with_new_type(op.result, encoded)


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
