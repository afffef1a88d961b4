"""What a kernel of token pools is compiled for, and what it is called with."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import (
    Arguments,
    activation,
    batch,
    given,
    result,
    state,
)
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.base import columns_of
from sala_compile.sala_ir.dialect.pooling import PoolTokensOp


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Columns and tokens of a pool; x and gate are views of columns, a mean has no gate."""

    columns: int
    pool: int
    x_start: int
    x_pitch: int
    gated: bool
    gate_start: int
    gate_pitch: int
    out_element: Element

    @property
    def kept_columns(self) -> int:
        """Columns of a row of the state: those of x, then those of the gate."""
        return self.columns * (1 + self.gated)

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        return f"pool_tokens_{self.columns}_p{self.pool}" + "_gated" * self.gated


def describe(op: PoolTokensOp, target: object) -> Spec | str:
    """Take every op whose inputs, state and weights are float32."""
    refusal = refuse_unless_float32(x=op.x, state=op.state, gate=op.gate, place=op.place)
    if refusal:
        return refusal
    gate = {"gate_start": 0, "gate_pitch": 0}
    if op.gate is not None:
        gate = column_views(gate=op.gate)
    return Spec(
        columns=columns_of(op.x),
        pool=op.pool.value.data,
        gated=op.gate is not None,
        out_element=element(op.out),
        **column_views(x=op.x),
        **gate,
    )


def arguments(spec: Spec, schedule: object) -> Arguments:
    """The arguments of a call."""
    columns = padded(spec.columns)
    return (
        *batch("control", "offsets", "history", "slots", "checkpoints"),
        activation("x", "f32", spec.x_pitch),
        activation("gate", "f32", spec.gate_pitch, when=spec.gated),
        given("place", "f32", spec.pool, columns, when=spec.gated),
        state("state", "f32", "state_slots", spec.pool - 1, spec.kept_columns, operand="state"),
        result("out", spec.out_element, columns),
    )
