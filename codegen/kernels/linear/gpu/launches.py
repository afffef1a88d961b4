"""The launches of a linear kernel on a GPU."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.linear.gpu.few_rows import multiply_rows
from sala_compile.codegen.kernels.linear.gpu.integer_products import (
    expand_panels,
    multiply_rows_by_integers,
)
from sala_compile.codegen.kernels.linear.gpu.many_rows import multiply_tiles
from sala_compile.codegen.kernels.linear.gpu.operands import Operands
from sala_compile.codegen.kernels.linear.gpu.spec import Schedule, Spec
from sala_compile.codegen.kernels.triton.kernel import ONE, Grid, Launch, Pointer
from sala_compile.codegen.layouts.integer_blocks import PANEL_ROWS
from sala_compile.codegen.layouts.padding import padded

EPILOGUE = ("bias", "residual", "y")
ROWS_EPILOGUE = ("squares", "bias", "residual", "norm", "y", "scaled", "sums")


@dataclass(frozen=True, slots=True)
class Launches:
    """The launches of the forms and encodings, from a spec and its tiles."""

    spec: Spec
    schedule: Schedule

    @property
    def operands(self) -> Operands:
        """Buffers and constants."""
        return Operands(self.spec, self.schedule)

    def tiles(self) -> Launch:
        """Plain weights, many rows."""
        arguments = self.operands.pointers("control", "x", "weight", *EPILOGUE)
        return self._tiles(arguments, self.spec.columns, self.spec.y_pitch)

    def slabs(self) -> Iterator[Launch]:
        """Integers, many rows: each slab of the weight is expanded, then multiplied."""
        spec, slab = self.spec, self.schedule.slab_rows(self.spec)
        shapes, per_output = spec.integers, 2 if spec.swiglu else 1
        for first in range(0, spec.rows, slab):
            panel = first // PANEL_ROWS
            yield self._expansion(panel, min(slab // PANEL_ROWS, shapes.panels - panel))
            column = first // per_output
            columns = min(slab // per_output, spec.columns - column)
            width = columns if first + slab < spec.rows else spec.y_pitch - column
            arguments = self.operands.pointers("control", "x") | self.operands.from_column(column)
            yield self._tiles({**arguments, "weight": self.operands.expanded}, columns, width)

    def rows(self) -> Launch:
        """Plain weights, few rows."""
        spec, tiles = self.spec, self.schedule
        constants = {
            **self._row_constants(tiles.depth, -(-spec.depth // tiles.depth)),
            "WEIGHT_ROWS": spec.rows,
            "WEIGHT_PITCH": padded(spec.depth),
            "STEP": tiles.depth,
        }
        arguments = self.operands.pointers("control", "x", "weight", *ROWS_EPILOGUE)
        return self._few_rows(multiply_rows, arguments, constants)

    def integer_rows(self) -> Launch:
        """Integers, few rows."""
        operands, blocks = self.operands, self.spec.integers.codes_shape[1]
        constants = {**self._row_constants(1, blocks), **operands.integers}
        weight = ("codes", "scales", "zeros")
        arguments = operands.pointers("control", "x", *weight, *ROWS_EPILOGUE)
        return self._few_rows(multiply_rows_by_integers, arguments, constants)

    def _tiles(self, arguments: dict[str, Pointer], columns: int, width: int) -> Launch:
        """Tiles of `columns` outputs, `width` with their padding."""
        spec, tiles = self.spec, self.schedule
        sums = 2 if spec.swiglu else 1
        constants = {
            **self.operands.live,
            **self.operands.product,
            **self.operands.epilogue,
            "WEIGHT_ROWS": columns * sums,
            "WEIGHT_PITCH": spec.integers.depth if spec.bits else padded(spec.depth),
            "COLUMNS": columns,
            "WIDTH": width,
            "BAND": tiles.band,
            "TILE_ROWS": tiles.rows,
            "TILE_COLUMNS": tiles.columns // sums,
            "STEP": tiles.depth,
        }
        across = -(-width // constants["TILE_COLUMNS"])
        grid = (Grid(0, ((spec.extent, tiles.rows, across),)), ONE, ONE)
        return Launch(multiply_tiles, grid, arguments, constants, tiles.warps, tiles.stages)

    def _expansion(self, panel: int, panels: int) -> Launch:
        """The values of some panels of integers."""
        arguments = self.operands.pointers("control") | self.operands.from_panel(panel)
        constants = {**self.operands.live, **self.operands.integers}
        grid = (Grid(panels), Grid(constants["BLOCKS"]), ONE)
        arguments["weight"] = self.operands.expanded
        return Launch(expand_panels, grid, arguments, constants, warps=4)

    def _few_rows(
        self, function: Any, arguments: dict[str, Pointer], constants: dict[str, Any]
    ) -> Launch:
        tiles = self.schedule
        rows = Grid(0, ((self.spec.extent, tiles.rows, 1),))
        grid = (rows, Grid(tiles.across(self.spec)), ONE)
        return Launch(function, grid, arguments, constants, tiles.warps, tiles.stages)

    def _row_constants(self, step: int, steps: int) -> dict[str, Any]:
        """Constants of both kernels of few rows; a part is a whole number of steps."""
        spec, tiles = self.spec, self.schedule
        return {
            **self.operands.live,
            **self.operands.product,
            **self.operands.epilogue,
            "NORM": spec.norm,
            "SQUARES": spec.squares,
            "EPS": spec.eps,
            "SCALED": spec.scaled,
            "TILES": tiles.across(spec),
            "PARTS": tiles.warps,
            "PART": -(-steps // tiles.warps) * step,
            "TILE_ROWS": tiles.rows,
            "TILE_COLUMNS": tiles.columns,
        }
