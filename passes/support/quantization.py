"""Which weights a quantised model stores as integers, and which stay as they are."""

from collections.abc import Iterator, Mapping
from enum import StrEnum

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.rewriter import InsertPoint, Rewriter

from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.dialect import (
    EmbeddingOp,
    EncodingAttr,
    EncodingKind,
    ExpertDownOp,
    ExpertUpOp,
    HeadRowsOp,
    LinearOp,
    LogitsOp,
    QuantizeWeightOp,
    WeightOp,
    WeightRole,
    weight_type,
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


class TiedHead(StrEnum):
    """How a quantised model stores a head that shares the embedding's matrix."""

    AUTO = "auto"
    """In 8 bits of its own where the model is rounded here."""
    INT8 = "int8"
    """In 8 bits of its own unless the checkpoint has integers for both."""
    SHARED = "shared"
    """Once for both."""


SENSITIVE_ENCODING = _ENCODINGS[Quantization.INT8]
"""How a quantised model stores weights of sensitive roles; their inputs are not rounded.

Embedding, norms and biases stay as they are.
"""


Product = LinearOp | ExpertUpOp | ExpertDownOp | LogitsOp
"""Operations that multiply by matrices of weights."""


def matrices_of(op: Product) -> tuple[SSAValue, ...]:
    """The matrices that an operation multiplies by."""
    if isinstance(op, ExpertUpOp):
        return (op.weight,) if op.gate is None else (op.gate, op.weight)
    return (op.weight,)


def role_of(op: Product) -> WeightRole:
    """What the weights of an operation are for, before projections are merged."""
    if isinstance(op, LogitsOp):
        return WeightRole.HEAD
    (role,) = frozenset[WeightRole]().union(*map(weight_roles, matrices_of(op)))
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
        name: role_of(op)
        for op in module.walk()
        if isinstance(op, LinearOp | ExpertUpOp | ExpertDownOp)
        for name in _tensors(op)
    }


def _tensors(op: Product) -> Iterator[str]:
    """The tensors of the checkpoint that are matrices of an operation as they are."""
    for matrix in matrices_of(op):
        if isinstance(matrix.owner, WeightOp):
            yield from matrix.owner.tensors


def encoding_for(op: Product, quantization: Quantization) -> EncodingAttr:
    """How the weights of an operation are stored; as they are if one is the embedding's too."""
    if quantization is Quantization.NONE or any(map(is_looked_up, matrices_of(op))):
        return EncodingAttr()
    return SENSITIVE_ENCODING if role_of(op).is_sensitive else quantization.encoding


def quantized_tensors(module: ModuleOp, quantization: Quantization) -> dict[str, EncodingAttr]:
    """The tensors that a quantisation stores as integers, and how."""
    found = {
        name: encoding_for(op, quantization)
        for op in module.walk()
        if isinstance(op, Product)
        for name in _tensors(op)
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


def separate_head(module: ModuleOp, element: Attribute) -> None:
    """Give a head that shares the embedding's matrix a weight of its own, in place.

    Its values are rounded to 8 bits in a graph of the element type `element`.
    """
    heads = [op for op in module.walk() if isinstance(op, LogitsOp) and is_looked_up(op.weight)]
    for op in heads:
        shared, kind, hint = op.weight.owner, weight_type(op.weight), op.weight.name_hint
        assert isinstance(shared, WeightOp), "a matrix is shared as it is captured"
        own = WeightOp(shared.tensor_name.data, kind, role=WeightRole.HEAD)
        rounded = QuantizeWeightOp(own.result, SENSITIVE_ENCODING, element)
        for weight in (own, rounded):
            weight.result.name_hint = hint
        Rewriter.insert_op([own, rounded], InsertPoint.after(shared))
        op.operands[list(op.operands).index(op.weight)] = rounded.result


def tied_tensor(module: ModuleOp) -> str | None:
    """The name of the matrix that the head shares with the embedding; None if it shares none."""
    for op in module.walk():
        if isinstance(op, LogitsOp) and is_looked_up(op.weight):
            assert isinstance(op.weight.owner, WeightOp), "a matrix is shared as it is captured"
            return op.weight.owner.tensor_name.data
    return None


def own_head(module: ModuleOp) -> tuple[str, EncodingAttr] | None:
    """The tensor that both embedding and a head with a copy of its own read, and the copy's
    encoding; None in a model without such a copy.
    """
    walked = list(module.walk())
    lookups = {op.weight.owner for op in walked if isinstance(op, EmbeddingOp)}
    names = {op.tensor_name.data for op in lookups if isinstance(op, WeightOp)}
    for op in walked:
        if not isinstance(op, LogitsOp) or op.weight.owner in lookups:
            continue
        stored = op.weight.owner
        source = stored.weight.owner if isinstance(stored, QuantizeWeightOp) else stored
        if isinstance(source, WeightOp) and source.tensor_name.data in names:
            return source.tensor_name.data, weight_type(op.weight).encoding
    return None


def is_looked_up(weight: SSAValue) -> bool:
    """Whether rows of a weight are looked up in it."""
    return any(isinstance(use.operation, EmbeddingOp) for use in weight.uses)


def store_as_integers(module: ModuleOp, encodings: Mapping[str, EncodingAttr]) -> None:
    """Type the tensors that a source stores as integers as such, in place.

    Those of which heads are made are read as the values that their integers represent.
    """
    for op in module.walk():
        if not isinstance(op, WeightOp):
            continue
        if any(isinstance(use.operation, HeadRowsOp) for use in op.result.uses):
            continue
        found = {encodings.get(name) for name in op.tensors}
        if found == {None}:
            continue
        if len(found) > 1:
            raise _mixed(op, encodings)
        encoded = weight_type(op.result).with_encoding(found.pop() or EncodingAttr())
        Rewriter.replace_value_with_new_type(op.result, encoded)


def _mixed(op: WeightOp, encodings: Mapping[str, EncodingAttr]) -> CompileError:
    """The refusal of experts of one layer that are stored in several ways."""
    first, *rest = op.tensors
    label = {name: encodings.get(name, EncodingAttr()).label for name in op.tensors}
    other = next(name for name in rest if label[name] != label[first])
    return CompileError(
        f"{first} is stored as {label[first]}, {other} as {label[other]}",
        where=op.tensor_name.data,
        expected="one way of storing for all experts of a layer",
        fix="quantise all experts of a layer alike",
    )
