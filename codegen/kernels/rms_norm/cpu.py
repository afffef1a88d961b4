"""y = x / sqrt(mean(x^2) + eps) * weight over groups, then * sigmoid(gate), on the CPU."""

from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.operands import (
    column_views,
    element,
    indices_of,
    refuse_unless_float32,
    spec_values,
    symbol_of,
)
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import Expr, Tensor, kernel, lanes, let, loop, splat
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.rows import (
    clear_padding,
    for_rows,
    for_vectors,
    sum_of_squares,
)
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.sala_ir.dialect.base import columns_of
from sala_compile.sala_ir.dialect.norm import RmsNormOp


@dataclass(frozen=True, slots=True)
class Spec:
    """Constants of one RMS norm; `gather` takes input row rows[i] for output row i.

    A `gate_pitch` of 0 means that there is no gate.
    """

    columns: int
    group: int
    eps: float
    gather: bool
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
        heads = "" if self.group == self.columns else f"_by{self.group}"
        options = "_rows" * self.gather + "_gate" * bool(self.gate_pitch)
        return symbol_of("rms_norm", f"{self.columns}{heads}_{self.output}{options}", self)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Nothing to choose: a row norm is bound by memory."""


def rule(op: RmsNormOp, target: CpuTarget) -> KernelChoice | str:
    """Take every norm whose weight is float32."""
    refusal = refuse_unless_float32(weight=op.weight)
    if refusal:
        return refusal
    views = column_views(x=op.x)
    if op.gate is not None:
        views |= column_views(gate=op.gate) | {"gate": element(op.gate)}
    spec = Spec(
        columns=columns_of(op.x),
        group=op.group,
        eps=op.eps.value.data,
        gather=op.rows is not None,
        x=element(op.x),
        output=element(op.result),
        **views,
    )
    operands = indices_of(op.operands, op.x, op.weight, op.rows, op.gate)
    return KernelChoice(
        symbol=spec.symbol,
        family="rms_norm",
        spec=spec_values(spec),
        operands=operands,
        arguments=("control", *(f"in:{i}" for i in range(len(operands))), "out:0"),
    )


def build(spec: Spec, target: CpuTarget, schedule: Schedule | None = None) -> Any:
    """Return the PrimFunc (control, x, weight, rows?, gate?, y)."""
    with kernel(spec.symbol, target) as builder:
        control = builder.control()
        x = builder.tensor("x", ("x_rows", spec.x_pitch), spec.x.dtype)
        weight = builder.tensor("weight", (padded(spec.group),), "float32")
        rows = builder.tensor("rows", ("row_count",), "int32") if spec.gather else None
        gate = None
        if spec.gate_pitch:
            gate = builder.tensor("gate", ("gate_rows", spec.gate_pitch), spec.gate.dtype)
        y = builder.tensor("y", ("y_rows", padded(spec.columns)), spec.output.dtype)

        def norm(row: Expr) -> None:
            source = row if rows is None else let(rows[row])
            with loop(spec.columns // spec.group) as group:
                _group(spec, (x, weight, gate, y), source, row, let(group * spec.group))
            clear_padding(spec.output, y, row, spec.columns)

        live = control.tokens if rows is None else control.logit_rows
        for_rows(builder, control, live, spec.columns, norm)
    return builder.function


def _group(
    spec: Spec,
    tensors: tuple[Tensor, Tensor, Tensor | None, Tensor],
    source: Expr,
    row: Expr,
    first: Expr,
) -> None:
    """Emit the norm of one group of columns of a row; the tensors are x, weight, gate and y."""
    x, weight, gate, y = tensors

    def load(column: Expr, count: int) -> Expr:
        return spec.x.load(x, source, first + column + spec.x_start, count=count)

    factor = let(inverse_root(sum_of_squares(spec.group, load), spec.group, spec.eps))

    def write(column: Expr, count: int) -> None:
        value = load(column, count) * splat(factor) * weight[lanes(column)]
        if gate is not None:
            logit = spec.gate.load(gate, row, first + column + spec.gate_start, count=count)
            value = value * vector.sigmoid(logit)
        spec.output.store(y, row, first + column, value=value, count=count)

    for_vectors(spec.group, write)


def inverse_root(squares: Expr, columns: int, eps: float) -> Expr:
    """Return 1 / sqrt(squares / columns + eps)."""
    mean = squares / T.float32(columns)
    return T.float32(1.0) / T.sqrt(mean + T.float32(eps))
