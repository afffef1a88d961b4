"""y = rms_norm(x; weight) * sigmoid(gate), each part optional, on the CPU."""

from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.operands import (
    column_views,
    element,
    indices_of,
    padded,
    refuse_unless_float32,
    spec_values,
    symbol_of,
)
from sala_compile.codegen.kernels.rms_norm.cpu import inverse_root
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import Expr, kernel, lanes, let, splat
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.rows import (
    clear_padding,
    for_rows,
    for_vectors,
    sum_of_squares,
)
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.sala_ir.dialect.base import columns_of
from sala_compile.sala_ir.dialect.norm import NormGateOp


@dataclass(frozen=True, slots=True)
class Spec:
    """Constants of one norm and gate: no `weight`, no norm; a `gate_pitch` of 0, no gate."""

    columns: int
    eps: float
    weight: bool
    x_start: int
    x_pitch: int
    x: Element
    output: Element
    gate: Element = Element.F32
    gate_start: int = 0
    gate_pitch: int = 0

    def __post_init__(self) -> None:
        """Accept element types by name, as a saved spec has them."""
        for name in ("x", "output", "gate"):
            object.__setattr__(self, name, Element(getattr(self, name)))

    @property
    def symbol(self) -> str:
        """A unique name."""
        parts = ["norm"] * self.weight + ["gate"] * bool(self.gate_pitch)
        return symbol_of("norm_gate", "_".join([str(self.columns), *parts, self.output]), self)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Nothing to choose: bound by memory."""


def rule(op: NormGateOp, target: CpuTarget) -> KernelChoice | str:
    """Take every norm whose weight is float32."""
    refusal = refuse_unless_float32(weight=op.weight)
    if refusal:
        return refusal
    views = column_views(x=op.x)
    if op.gate is not None:
        views |= column_views(gate=op.gate) | {"gate": element(op.gate)}
    spec = Spec(
        columns=columns_of(op.x),
        eps=op.eps.value.data,
        weight=op.weight is not None,
        x=element(op.x),
        output=element(op.result),
        **views,
    )
    operands = indices_of(op.operands, op.x, op.weight, op.gate)
    return KernelChoice(
        symbol=spec.symbol,
        family="norm_gate",
        spec=spec_values(spec),
        operands=operands,
        arguments=("control", *(f"in:{i}" for i in range(len(operands))), "out:0"),
    )


def build(spec: Spec, target: CpuTarget, schedule: Schedule | None = None) -> Any:
    """Return the PrimFunc (control, x, weight?, gate?, y)."""
    with kernel(spec.symbol, target) as builder:
        control = builder.control()
        x = builder.tensor("x", ("x_rows", spec.x_pitch), spec.x.dtype)
        weight = gate = None
        if spec.weight:
            weight = builder.tensor("weight", (padded(spec.columns),), "float32")
        if spec.gate_pitch:
            gate = builder.tensor("gate", ("gate_rows", spec.gate_pitch), spec.gate.dtype)
        y = builder.tensor("y", ("y_rows", padded(spec.columns)), spec.output.dtype)

        def body(row: Expr) -> None:
            def load(column: Expr, count: int) -> Expr:
                return spec.x.load(x, row, column + spec.x_start, count=count)

            factor = None
            if weight is not None:
                squares = sum_of_squares(spec.columns, load)
                factor = let(inverse_root(squares, spec.columns, spec.eps))

            def write(column: Expr, count: int) -> None:
                value = load(column, count)
                if weight is not None:
                    value = value * splat(factor) * weight[lanes(column)]
                if gate is not None:
                    logit = spec.gate.load(gate, row, column + spec.gate_start, count=count)
                    value = value * vector.sigmoid(logit)
                spec.output.store(y, row, column, value=value, count=count)

            for_vectors(spec.columns, write)
            clear_padding(spec.output, y, row, spec.columns)

        for_rows(builder, control, control.tokens, spec.columns, body)
    return builder.function
