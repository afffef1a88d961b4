"""Which weights a quantised model stores as integers, and which stay as they are."""

from collections.abc import Mapping
from enum import StrEnum

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import Rewriter

from sala_compile.sala_ir.dialect import (
    BlockSparseAttentionOp,
    EmbeddingOp,
    EncodingAttr,
    EncodingKind,
    LinearOp,
    LogitsOp,
    OutputGateOp,
    RmsNormOp,
    RopeOp,
    SoftmaxAttentionOp,
    WeightOp,
    WeightType,
)


class Quantization(StrEnum):
    """How the weights of the layers' projections are stored."""

    NONE = "none"
    INT4_G128 = "int4-g128"
    INT4_G32 = "int4-g32"
    INT8 = "int8"

    @property
    def encoding(self) -> EncodingAttr:
        """The encoding of the projections; zeros are the middle of the range."""
        return _ENCODINGS[self]


_ENCODINGS = {
    Quantization.NONE: EncodingAttr(),
    Quantization.INT4_G128: EncodingAttr(EncodingKind.INT4, 128),
    Quantization.INT4_G32: EncodingAttr(EncodingKind.INT4, 32),
    Quantization.INT8: EncodingAttr(EncodingKind.INT8, 128),
}


class Role(StrEnum):
    """What a matrix that multiplies activations of the captured step is for."""

    PROJECTION = "projection"
    """Any linear of a layer that is none of the following."""
    OUTPUT_GATE = "output_gate"
    """Its result passes a sigmoid and multiplies the output of a mixer."""
    ATTENTION_SCORES = "attention_scores"
    """Queries and keys of softmax attention, which also select the blocks."""
    HEAD = "head"
    """The logits."""


FRAGILE = frozenset({Role.OUTPUT_GATE, Role.ATTENTION_SCORES, Role.HEAD})
"""Roles whose weights take 8 bits and whose inputs are not rounded: an error here is multiplied,
by a whole head's output or through the selection of blocks, or it stands in the logits itself."""
FRAGILE_ENCODING = _ENCODINGS[Quantization.INT8]
"""How a quantised model stores fragile weights. Embedding, norms and biases stay as they are."""


def role_of(op: LinearOp | LogitsOp) -> Role:
    """The role of an operation before projections are merged and gates are fused."""
    if isinstance(op, LogitsOp):
        return Role.HEAD
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


def encoding_for(op: LinearOp | LogitsOp, quantization: Quantization) -> EncodingAttr:
    """How the weight of an operation is stored; as it is where it is the embedding's too."""
    is_embedding = any(isinstance(use.operation, EmbeddingOp) for use in op.weight.uses)
    if quantization is Quantization.NONE or is_embedding:
        return EncodingAttr()
    return FRAGILE_ENCODING if role_of(op) in FRAGILE else quantization.encoding


def quantized_tensors(module: ModuleOp, quantization: Quantization) -> dict[str, EncodingAttr]:
    """The tensors that a quantisation stores as integers, and how."""
    found = {
        op.weight.owner.tensor_name.data: encoding_for(op, quantization)
        for op in module.walk()
        if isinstance(op, LinearOp | LogitsOp) and isinstance(op.weight.owner, WeightOp)
    }
    return {name: encoding for name, encoding in found.items() if not encoding.is_plain}


def calibrated_tensors(module: ModuleOp, quantization: Quantization) -> dict[str, EncodingAttr]:
    """Those of them whose rounding a calibration decides; 8 bits of fragile ones need none."""
    roles = linear_roles(module)
    return {
        name: encoding
        for name, encoding in quantized_tensors(module, quantization).items()
        if roles.get(name) is Role.PROJECTION
    }


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
