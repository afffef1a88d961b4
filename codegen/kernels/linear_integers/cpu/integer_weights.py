"""Panels of integer weights as they are stored."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, given
from sala_compile.codegen.kernels.linear_integers.cpu.spec import Spec
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensor,
    Tensors,
    held,
    lanes,
    let,
)
from sala_compile.codegen.layouts.panels import PANEL_ROWS

LINE = 2 * LANES
"""16-bit values in a vector."""


def weight_arguments(spec: Spec) -> Arguments:
    """The stored parts of a weight: codes, scales, zeros?."""
    panels = -(-spec.rows // PANEL_ROWS)
    codes = (panels, spec.padded_depth // spec.line, PANEL_ROWS, 2)
    groups = (panels, spec.padded_depth // spec.group, PANEL_ROWS)
    return (
        given("codes", "u16", *codes, operand="weight", part="codes"),
        given("scales", "f16", *groups, operand="weight", part="scales"),
        given("zeros", "u8", *groups, operand="weight", part="zeros", when=spec.stores_zeros),
    )


@dataclass(frozen=True, slots=True)
class PanelWeights:
    """Reads the stored parts of a weight."""

    spec: Spec
    tensors: Tensors

    @property
    def unpacked(self) -> Tensor:
        """The part of a panel that a worker keeps unpacked."""
        return self.tensors.unpacked

    def group(self, span: Expr) -> Expr:
        """The group that a span of the depth belongs to."""
        spans = self.spec.group // self.spec.span
        return span if spans == 1 else held(span // spans)

    def scale(self, panel: Expr, group: Expr, j: Expr) -> Expr:
        """The scales of vector j of a panel, as floats."""
        return let(vector.from_f16(self.tensors.scales[panel, group, lanes(j * LANES)]))

    def line(self, panel: Expr, line: Expr, j: Expr) -> Expr:
        """A line of codes of vector j of a panel."""
        return let(self.tensors.codes[panel, line, j * LANES, lanes(0, LINE)])
