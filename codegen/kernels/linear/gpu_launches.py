"""The launches of a linear kernel on a GPU."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from codegen.kernels.linear.gpu_integers import expand_panels, multiply_rows_by_integers
from codegen.kernels.linear.gpu_layout import PANEL_ROWS
from codegen.kernels.linear.gpu_operands import Operands
from codegen.kernels.linear.gpu_rows import add_parts, multiply_rows
from codegen.kernels.linear.gpu_spec import Schedule, Spec
from codegen.kernels.linear.gpu_tiles import multiply_tiles
from codegen.kernels.operands import padded
from codegen.kernels.triton.kernel import ONE, Grid, Launch, Pointer
from codegen.kernels.triton.rows import warps_for

SUMS_BLOCK = 1024
"""Outputs of a program that adds the parts of the depth."""

EPILOGUE = ("bias", "residual", "y")


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
        fused = spec.swiglu and tiles.splits == 1
        constants = {
            **self._row_constants(tiles.depth, -(-spec.depth // tiles.depth)),
            "WEIGHT_PITCH": padded(spec.depth),
            "STEP": tiles.depth,
        }
        grid = self._row_grid(spec.y_pitch if fused else padded(spec.rows))
        arguments = self.operands.pointers("control", "x", "weight", *EPILOGUE, "partials")
        return Launch(multiply_rows, grid, arguments, constants, tiles.warps, tiles.stages)

    def integer_rows(self) -> Launch:
        """Integers, few rows."""
        spec, tiles = self.spec, self.schedule
        shapes, operands = spec.integers, self.operands
        constants = {**self._row_constants(1, shapes.codes_shape[1]), **operands.integers}
        weight = ("codes", "scales", "zeros")
        arguments = operands.pointers("control", "x", *weight, *EPILOGUE, "partials")
        grid = self._row_grid(shapes.panels * PANEL_ROWS)
        function = multiply_rows_by_integers
        return Launch(function, grid, arguments, constants, tiles.warps, tiles.stages)

    def sums(self) -> Launch:
        """The sums of the parts of the depth, and the epilogue."""
        constants = {
            **self.operands.live,
            **self.operands.epilogue,
            "WEIGHT_ROWS": self.spec.rows,
            "SPLITS": self.schedule.splits,
            "BLOCK": SUMS_BLOCK,
        }
        parts = -(-self.spec.y_pitch // SUMS_BLOCK)
        grid = (Grid(0, ((self.spec.extent, 1, 1),)), Grid(parts), ONE)
        arguments = self.operands.pointers("control", "partials", *EPILOGUE)
        return Launch(add_parts, grid, arguments, constants, warps_for(SUMS_BLOCK))

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

    def _row_grid(self, columns: int) -> tuple[Grid, Grid, Grid]:
        rows = Grid(0, ((self.spec.extent, self.schedule.rows, 1),))
        return rows, Grid(-(-columns // self.schedule.columns)), Grid(self.schedule.splits)

    def _row_constants(self, step: int, steps: int) -> dict[str, Any]:
        """Constants of both kernels of few rows; a part is a whole number of steps."""
        tiles = self.schedule
        return {
            **self.operands.live,
            **self.operands.product,
            **self.operands.epilogue,
            "WEIGHT_ROWS": self.spec.rows,
            "SPLITS": tiles.splits,
            "PART": -(-steps // tiles.splits) * step,
            "TILE_ROWS": tiles.rows,
            "TILE_COLUMNS": tiles.columns,
        }
