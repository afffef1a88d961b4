"""The launches of a linear kernel on a GPU."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from sala_compile.codegen.kernels.arguments import Argument, Arguments
from sala_compile.codegen.kernels.linear.gpu.constants import IntegerConstants
from sala_compile.codegen.kernels.linear.gpu.few_rows import multiply_rows
from sala_compile.codegen.kernels.linear.gpu.integer_products import (
    expand_panels,
    multiply_rows_by_integers,
)
from sala_compile.codegen.kernels.linear.gpu.many_rows import multiply_tiles
from sala_compile.codegen.kernels.linear.gpu.spec import Schedule, Spec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.triton.kernel import ONE, Constant, Grid, Launch, Pointer
from sala_compile.codegen.kernels.triton.launches import LIVE_WORD, constants_of, launch, pointer
from sala_compile.codegen.layouts.integer_blocks import PANEL_ROWS
from sala_compile.codegen.layouts.padding import padded


@dataclass(frozen=True, slots=True)
class Launches:
    """The launches of the forms and encodings, from a spec and its tiles."""

    spec: Spec
    schedule: Schedule
    arguments: Arguments

    def tiles(self) -> Launch:
        """Plain weights, many rows."""
        return self._tiles({}, self.spec.columns, self.spec.y_pitch)

    def slabs(self) -> Iterator[Launch]:
        """Integers, many rows: each slab of the weight is expanded, then multiplied."""
        spec, slab = self.spec, self.schedule.slab_rows(self.spec)
        shapes, per_output = spec.integers, 2 if spec.swiglu else 1
        expanded = {"weight": pointer(self._argument("expanded"))}
        for first in range(0, spec.rows, slab):
            panel = first // PANEL_ROWS
            panels = min(slab // PANEL_ROWS, shapes.panels - panel)
            yield self._expansion(self._from_panel(panel) | expanded, panels)
            column = first // per_output
            columns = min(slab // per_output, spec.columns - column)
            width = columns if first + slab < spec.rows else spec.y_pitch - column
            yield self._tiles(self._from_column(column) | expanded, columns, width)

    def rows(self) -> Launch:
        """Plain weights, few rows."""
        depth = self.schedule.depth
        return self._few_rows(multiply_rows, depth, -(-self.spec.depth // depth))

    def integer_rows(self) -> Launch:
        """Integers, few rows; a step is a block."""
        return self._few_rows(multiply_rows_by_integers, 1, self.spec.integers.codes_shape[1])

    def _tiles(self, others: Mapping[str, Pointer], columns: int, width: int) -> Launch:
        """Tiles of `columns` outputs, `width` with their padding."""
        spec, tiles = self.spec, self.schedule
        sums = 2 if spec.swiglu else 1
        across = tiles.columns // sums
        constants = self._constants() | {
            "WEIGHT_ROWS": columns * sums,
            "WEIGHT_PITCH": spec.integers.depth if spec.bits else padded(spec.depth),
            "COLUMNS": columns,
            "WIDTH": width,
            "BAND": tiles.band,
            "TILE_COLUMNS": across,
            "STEP": tiles.depth,
        }
        grid = (Grid(0, ((spec.extent, tiles.rows, -(-width // across)),)), ONE, ONE)
        return self._launch(multiply_tiles, grid, constants, others)

    def _expansion(self, others: Mapping[str, Pointer], panels: int) -> Launch:
        """The values of some panels of integers."""
        grid = (Grid(panels), Grid(self.spec.integers.codes_shape[1]), ONE)
        return launch(expand_panels, grid, self.arguments, self._constants(), others, warps=4)

    def _few_rows(self, function: Any, step: int, steps: int) -> Launch:
        """Each warp takes a part of the depth, which is a whole number of steps."""
        spec, tiles = self.spec, self.schedule
        constants = self._constants() | {
            "WEIGHT_ROWS": spec.rows,
            "WEIGHT_PITCH": padded(spec.depth),
            "STEP": step,
            "PARTS": tiles.warps,
            "PART": -(-steps // tiles.warps) * step,
        }
        grid = (Grid(0, ((spec.extent, tiles.rows, 1),)), Grid(tiles.across(spec)), ONE)
        return self._launch(function, grid, constants, {})

    def _launch(
        self,
        function: Any,
        grid: tuple[Grid, Grid, Grid],
        constants: Mapping[str, Constant],
        others: Mapping[str, Pointer],
    ) -> Launch:
        options: dict[str, Any] = {"warps": self.schedule.warps, "stages": self.schedule.stages}
        return launch(function, grid, self.arguments, constants, others, **options)

    def _constants(self) -> dict[str, Constant]:
        """What several functions are compiled for."""
        spec, tiles = self.spec, self.schedule
        integers = IntegerConstants.of(spec.integers)._asdict() if spec.bits else {}
        return constants_of(
            spec,
            **integers,
            LIVE=LIVE_WORD[spec.extent],
            PRECISION="ieee" if spec.weight is Element.F32 else "tf32",
            COLUMNS=spec.columns,
            Y_PITCH=spec.y_pitch,
            TILES=tiles.across(spec),
            TILE_ROWS=tiles.rows,
            TILE_COLUMNS=tiles.columns,
        )

    def _from_column(self, column: int) -> dict[str, Pointer]:
        """Bias, residual and y from an output on."""
        values = {"bias": 2 if self.spec.swiglu else 1, "residual": 1, "y": 1}
        return {name: self._moved(name, column * count) for name, count in values.items()}

    def _from_panel(self, panel: int) -> dict[str, Pointer]:
        """Codes, scales, zeros and factors from a panel on."""
        shapes = self.spec.integers
        groups = prod(shapes.groups_shape[1:])
        values = {"codes": prod(shapes.codes_shape[1:]), "scales": prod(shapes.scales_shape[1:])}
        values |= {"zeros": groups, "factors": groups}
        return {name: self._moved(name, panel * count) for name, count in values.items()}

    def _moved(self, name: str, values: int) -> Pointer:
        argument = self._argument(name)
        return pointer(argument, values * argument.bytes)

    def _argument(self, name: str) -> Argument:
        return next(each for each in self.arguments if each.name == name)
