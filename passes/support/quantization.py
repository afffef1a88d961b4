"""Which weights a quantised model stores as integers, and which stay as they are."""

from collections.abc import Mapping
from enum import StrEnum

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import Rewriter

from sala_compile.sala_ir.dialect import (
    EmbeddingOp,
    EncodingAttr,
    EncodingKind,
    LinearOp,
    LogitsOp,
    WeightOp,
    WeightRole,
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


SENSITIVE_ENCODING = _ENCODINGS[Quantization.INT8]
"""How a quantised model stores weights of sensitive roles; their inputs are not rounded.

Embedding, norms and biases stay as they are.
"""


def role_of(op: LinearOp | LogitsOp) -> WeightRole:
    """What the weight of an operation is for, before projections are merged."""
    if isinstance(op, LogitsOp):
        return WeightRole.HEAD
    (role,) = weight_roles(op.weight)
    return role


def weight_roles(value: SSAValue) -> frozenset[WeightRole]:
    """The roles of the checkpoint's tensors that a weight is made of."""
    op = value.owner
    assert isinstance(op, Operation), "a weight is made by an operation"
    if isinstance(op, WeightOp):
        return frozenset({op.role.data})
    return frozenset[WeightRole]().union(*(weight_roles(operand) for operand in op.operands))


def tensor_roles(module: ModuleOp) -> dict[str, WeightRole]:
    """The roles of the checkpoint's tensors that are weights of linears in a captured module."""
    return {
        op.weight.owner.tensor_name.data: role_of(op)
        for op in module.walk()
        if isinstance(op, LinearOp) and isinstance(op.weight.owner, WeightOp)
    }


def encoding_for(op: LinearOp | LogitsOp, quantization: Quantization) -> EncodingAttr:
    """How the weight of an operation is stored; as it is if it is the embedding's too."""
    is_embedding = any(isinstance(use.operation, EmbeddingOp) for use in op.weight.uses)
    if quantization is Quantization.NONE or is_embedding:
        return EncodingAttr()
    return SENSITIVE_ENCODING if role_of(op).is_sensitive else quantization.encoding


def quantized_tensors(module: ModuleOp, quantization: Quantization) -> dict[str, EncodingAttr]:
    """The tensors that a quantisation stores as integers, and how."""
    found = {
        op.weight.owner.tensor_name.data: encoding_for(op, quantization)
        for op in module.walk()
        if isinstance(op, LinearOp | LogitsOp) and isinstance(op.weight.owner, WeightOp)
    }
    return {name: encoding for name, encoding in found.items() if not encoding.is_plain}


def calibrated_tensors(module: ModuleOp, quantization: Quantization) -> dict[str, EncodingAttr]:
    """The tensors whose rounding a calibration decides; sensitive ones of 8 bits need none."""
    roles = tensor_roles(module)
    return {
        name: encoding
        for name, encoding in quantized_tensors(module, quantization).items()
        if roles.get(name) is WeightRole.PROJECTION
    }


def store_as_integers(module: ModuleOp, encodings: Mapping[str, EncodingAttr]) -> None:
    """Type the tensors that a source stores as integers as such, in place."""
    for op in module.walk():
        if isinstance(op, WeightOp) and op.tensor_name.data in encodings:
            kind = op.result.type
            assert isinstance(kind, WeightType)
            encoded = kind.with_encoding(encodings[op.tensor_name.data])
            Rewriter.replace_value_with_new_type(op.result, encoded)
