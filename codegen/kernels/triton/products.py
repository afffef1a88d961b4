"""The arithmetic of matrix products of float32 values."""

from enum import StrEnum

from xdsl.dialects.builtin import BFloat16Type, TensorType
from xdsl.ir import Operation, SSAValue


class Products(StrEnum):
    """How factors are multiplied, as Triton spells it; sums are float32 in all."""

    IEEE = "ieee"
    TF32 = "tf32"
    """Factors cut to 11 bits, not rounded: if they come from products of bf16, which has 8.

    Cutting makes a product smaller by up to 2^-9.
    """
    TF32X3 = "tf32x3"
    """Factors as sums of two of 11 bits, three products of TF32: to about 2^-21."""


def comes_from_bf16(value: SSAValue) -> bool:
    """Whether an activation was computed from values of bf16, by the first operands back."""
    while isinstance(value.owner, Operation):
        kinds = [operand.type for operand in value.owner.operands]
        if any(isinstance(getattr(kind, "element_type", None), BFloat16Type) for kind in kinds):
            return True
        if not kinds or not isinstance(kinds[0], TensorType):
            return False
        value = value.owner.operands[0]
    return False
