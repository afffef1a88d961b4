"""What follows the sums of an expert: activation (up), or gate and addition (down)."""

from collections.abc import Callable
from dataclasses import dataclass

from sala_compile.codegen.kernels.experts.cpu.expert_rows import ExpertRows
from sala_compile.codegen.kernels.experts.spec import Spec
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensors,
    held,
    lanes,
    let,
    loop,
    splat,
    when,
)
from sala_compile.codegen.kernels.tir.gated import swiglu
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.layouts.panels import PANEL_ROWS
from sala_compile.sala_ir.dialect.expert_kinds import ExpertActivation


@dataclass(frozen=True, slots=True)
class UpEpilogue:
    """Columns of the place's expert in the row of its token."""

    spec: Spec
    tensors: Tensors
    rows: ExpertRows

    def finish(
        self, row: Expr, weight_row: Expr, vectors: int, sums: Callable[[int], Expr]
    ) -> None:
        """Emit the activation of `vectors` vectors of sums of a place, from a weight's row on."""
        spec = self.spec
        token, slot = self.rows.pair(row)
        gated = spec.activation is ExpertActivation.SWIGLU
        stride = 2 if gated else 1
        first = held(slot * spec.width + weight_row % spec.rows // stride)
        for j in range(0, vectors, stride):
            value = swiglu(let(sums(j)), sums(j + 1), spec.limit) if gated else _squared(sums(j))
            spec.output.store(self.tensors.y, token, first + j // stride * LANES, value=value)


def _squared(value: Expr) -> Expr:
    positive = let(T.max(value, splat(0.0)))
    return positive * positive


@dataclass(frozen=True, slots=True)
class DownEpilogue:
    """y of the place's token takes the sums times the gate, one expert after the other."""

    spec: Spec
    tensors: Tensors
    rows: ExpertRows

    def begin(self, live: Expr, panel: Expr, panels: Expr) -> None:
        """Emit the residual, or zeros, in the columns of some panels of all live rows."""
        spec, y = self.spec, self.tensors.y
        residual = self.tensors.find("residual")
        last = padded(spec.columns) // LANES
        vectors = PANEL_ROWS // LANES
        with (
            loop(live) as row,
            loop(held(T.min(panels * vectors, last - panel * vectors))) as index,
        ):
            column = held((panel * vectors + index) * LANES)
            value = splat(0.0)
            if residual is not None:
                value = residual[row, lanes(column + spec.residual_start)]
            y[row, lanes(column)] = value

    def finish(
        self, row: Expr, weight_row: Expr, vectors: int, sums: Callable[[int], Expr]
    ) -> None:
        """Emit the addition of `vectors` vectors of sums of a place, from a weight's row on."""
        spec, y = self.spec, self.tensors.y
        token, slot = self.rows.pair(row)
        gate = self.tensors.gates[token, held(slot + spec.gates_start)]
        factor = let(splat(gate * T.float32(spec.scale) if spec.scale != 1.0 else gate))
        first = held(weight_row % spec.rows)
        for j in range(vectors):
            column = held(first + j * LANES)

            def add(j: int = j, column: Expr = column) -> None:
                here = lanes(column)
                y[token, here] = vector.fma(sums(j), factor, y[token, here])

            if padded(spec.columns) % PANEL_ROWS:
                with when(column < padded(spec.columns)):
                    add()
            else:
                add()
