"""y[t] = scale * weight[tokens[t]], on the CPU.

The matrix is row-major, or in the panels of the head where the two are one tensor, which is
stored once.
"""

from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.operands import element, indices_of, spec_values, symbol_of
from sala_compile.codegen.kernels.tir.builder import Expr, Tensor, kernel, let, splat
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.rows import clear_padding, for_rows, for_vectors
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.layouts.panels import PANEL_ROWS, panel_shape
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.passes.support.weight_names import demanded_layouts
from sala_compile.sala_ir.dialect.base import weight_shape
from sala_compile.sala_ir.dialect.embedding import EmbeddingOp
from sala_compile.sala_ir.dialect.weight_storage import LayoutAttr


@dataclass(frozen=True, slots=True)
class Spec:
    """Constants of one embedding; `panel` where the matrix is in the panels of a linear."""

    vocabulary: int
    columns: int
    scale: float
    panel: bool
    weight: Element
    output: Element

    def __post_init__(self) -> None:
        """Accept element types by name, as a saved spec has them."""
        object.__setattr__(self, "weight", Element(self.weight))
        object.__setattr__(self, "output", Element(self.output))

    @property
    def symbol(self) -> str:
        """A unique name."""
        layout = "panel" if self.panel else "rows"
        sizes = f"{self.vocabulary}x{self.columns}"
        return symbol_of("embedding", f"{sizes}_{self.weight}_{layout}", self)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Nothing to choose: bound by memory."""


def rule(op: EmbeddingOp, target: CpuTarget) -> KernelChoice | str:
    """Take every embedding; read panels where a linear, chosen before, demands them."""
    vocabulary, columns = weight_shape(op.weight)
    spec = Spec(
        vocabulary=vocabulary,
        columns=columns,
        scale=op.scale.value.data,
        panel=LayoutAttr.panel(PANEL_ROWS) in demanded_layouts(op.weight),
        weight=element(op.weight),
        output=element(op.result),
    )
    return KernelChoice(
        symbol=spec.symbol,
        family="embedding",
        spec=spec_values(spec),
        operands=indices_of(op.operands, op.tokens, op.weight),
        arguments=("control", "in:0", "in:1", "out:0"),
        weight_layouts={1: LayoutAttr.panel(PANEL_ROWS)} if spec.panel else {},
    )


def build(spec: Spec, target: CpuTarget, schedule: Schedule | None = None) -> Any:
    """Return the PrimFunc (control, tokens, weight, y); every id must be in the vocabulary."""
    shape: tuple[int, ...] = (spec.vocabulary, padded(spec.columns))
    if spec.panel:
        shape = panel_shape(spec.vocabulary, spec.columns, spec.weight.pack)
    with kernel(spec.symbol, target) as builder:
        control = builder.control()
        tokens = builder.tensor("tokens", ("tokens",), "int32")
        weight = builder.tensor("weight", shape, spec.weight.dtype)
        y = builder.tensor("y", ("y_rows", padded(spec.columns)), spec.output.dtype)
        copy = _copy_from_panel if spec.panel else _copy_row

        def body(row: Expr) -> None:
            copy(spec, weight, let(tokens[row]), y, row)
            clear_padding(spec.output, y, row, spec.columns)

        for_rows(builder, control, control.tokens, spec.columns, body)
    return builder.function


def _copy_row(spec: Spec, weight: Tensor, token: Expr, y: Tensor, row: Expr) -> None:
    def write(column: Expr, count: int) -> None:
        value = spec.weight.load(weight, token, column, count=count) * splat(spec.scale)
        spec.output.store(y, row, column, value=value, count=count)

    for_vectors(spec.columns, write)


def _copy_from_panel(spec: Spec, weight: Tensor, token: Expr, y: Tensor, row: Expr) -> None:
    """Emit a walk down one row of a panel: a pack every 256 bytes."""
    panel, place = let(token // PANEL_ROWS), let(token % PANEL_ROWS)
    pack = spec.weight.pack

    def write(column: Expr, count: int) -> None:
        first = let(column // pack)
        values = [weight[panel, first + lane // pack, place, lane % pack] for lane in range(count)]
        value = spec.weight.gather(values) * splat(spec.scale)
        spec.output.store(y, row, column, value=value, count=count)

    for_vectors(spec.columns, write, together=1)
