"""What a lightning attention kernel is compiled for, and what it is called with."""

from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.arguments import Arguments, activation, given, state
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.mixers import LightningAttentionOp

CHUNK = 64
"""Tokens of one chunk of the chunked form."""


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """What the kernel is compiled for.

    q, k and v are columns from `*_start` on of rows `*_pitch` floats apart. `norm` and `rope` say
    whether the norm weights and the rotary table are among the parameters.
    """

    num_heads: int
    kv_heads: int
    head_dim: int
    scale: float
    eps: float
    slopes: tuple[float, ...]
    q_start: int
    k_start: int
    v_start: int
    q_pitch: int
    k_pitch: int
    v_pitch: int
    norm: bool
    rope: bool
    out_element: Element = Element.F32

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        return f"lightning_attention_h{self.num_heads}_kv{self.kv_heads}_d{self.head_dim}"


def fields_of(op: LightningAttentionOp) -> dict[str, Any] | str:
    """The fields of a Spec; the reason of a refusal unless all is float32, the state too."""
    refusal = refuse_unless_float32(q=op.q, k=op.k, v=op.v, state=op.state, rope=op.rope)
    if refusal:
        return refusal
    return {
        **op.parameters,
        **column_views(q=op.q, k=op.k, v=op.v),
        "norm": op.q_norm is not None,
        "rope": op.rope is not None,
        "out_element": element(op.out),
    }


def inputs(spec: Spec) -> Arguments:
    """The operands of the operation as arguments."""
    size, columns = spec.head_dim, padded(spec.head_dim)
    return (
        activation("q", "f32", spec.q_pitch),
        activation("k", "f32", spec.k_pitch),
        activation("v", "f32", spec.v_pitch),
        state("state", "f32", "state_slots", spec.num_heads, size, size, operand="state"),
        given("q_norm", "f32", columns, when=spec.norm),
        given("k_norm", "f32", columns, when=spec.norm),
        activation("rope", "f32", columns, when=spec.rope),
    )
