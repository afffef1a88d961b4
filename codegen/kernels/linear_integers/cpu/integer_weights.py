"""Panels of integer weights as they are stored."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.linear_integers.cpu.spec import Spec
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    KernelBuilder,
    Tensor,
    held,
    lanes,
    let,
)
from sala_compile.codegen.layouts.panels import PANEL_ROWS

LINE = 2 * LANES
"""16-bit values in a vector."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The stored parts of a weight, and where a worker keeps a part of a panel unpacked."""

    spec: Spec
    codes: Tensor
    scales: Tensor
    zeros: Tensor | None
    room: Tensor | None

    @property
    def unpacked(self) -> Tensor:
        """The part of a panel that a worker keeps unpacked."""
        assert self.room is not None, "integers that are read as they are stored have no room"
        return self.room

    @classmethod
    def declare(cls, builder: KernelBuilder, spec: Spec) -> tuple[Tensor, Tensor, Tensor | None]:
        """Declare (codes, scales, zeros?)."""
        panels = -(-spec.rows // PANEL_ROWS)
        lines = spec.padded_depth // spec.line
        groups = (panels, spec.padded_depth // spec.group, PANEL_ROWS)
        codes = builder.tensor("codes", (panels, lines, PANEL_ROWS, 2), "uint16")
        scales = builder.tensor("scales", groups, "uint16")
        zeros = builder.tensor("zeros", groups, "uint8") if spec.stores_zeros else None
        return codes, scales, zeros

    def group(self, span: Expr) -> Expr:
        """The group that a span of the depth belongs to."""
        spans = self.spec.group // self.spec.span
        return span if spans == 1 else held(span // spans)

    def scale(self, panel: Expr, group: Expr, j: Expr) -> Expr:
        """The scales of vector j of a panel, as floats."""
        return let(vector.from_f16(self.scales[panel, group, lanes(j * LANES)]))

    def line(self, panel: Expr, line: Expr, j: Expr) -> Expr:
        """A line of codes of vector j of a panel."""
        return let(self.codes[panel, line, j * LANES, lanes(0, LINE)])
