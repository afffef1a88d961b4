"""The buffers of a linear kernel on a GPU, and the constants that its functions share."""

from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.linear.gpu.spec import Form, Schedule, Spec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.triton.buffers import (
    CONTROL,
    LIVE_WORD,
    Buffer,
    pointee,
    pointers,
    values,
)
from sala_compile.codegen.kernels.triton.kernel import Pointer
from sala_compile.codegen.layouts.integer_blocks import PANEL_ROWS
from sala_compile.codegen.layouts.padding import padded


@dataclass(frozen=True, slots=True)
class Operands:
    """What the launches of a kernel are called with."""

    spec: Spec
    schedule: Schedule

    @property
    def buffers(self) -> tuple[Buffer | None, ...]:
        """All buffers in the order of the call; None for those that are not there."""
        spec = self.spec
        bias = values("bias", Element.F32, padded(spec.rows)) if spec.bias else None
        residual = None
        if spec.residual_pitch:
            residual = values("residual", Element.F32, "residual_rows", spec.residual_pitch)
        return (
            CONTROL,
            values("x", spec.weight, "x_rows", spec.x_pitch),
            *self._weight,
            bias,
            residual,
            values("squares", Element.F32, "square_rows", padded(spec.squares))
            if spec.norm
            else None,
            values("norm", Element.F32, spec.y_pitch) if spec.scaled else None,
            values("y", spec.output, "y_rows", spec.y_pitch),
            *self._scaled,
            self._workspace,
        )

    @property
    def _scaled(self) -> tuple[Buffer, ...]:
        """What a norm behind the output is made of: values of the type of x, sums of squares."""
        spec = self.spec
        if not spec.scaled:
            return ()
        tiles = self.schedule.across(spec)
        return (
            values("scaled", spec.weight, "scaled_rows", spec.y_pitch),
            values("sums", Element.F32, "sum_rows", padded(tiles)),
        )

    @property
    def _weight(self) -> tuple[Buffer | None, ...]:
        spec = self.spec
        if not spec.bits:
            return (values("weight", spec.weight, spec.rows, padded(spec.depth)),)
        shapes = spec.integers
        zeros = Buffer("zeros", "uint8", "u8", shapes.groups_shape) if spec.zeros else None
        return (
            Buffer("codes", "int32", "i32", shapes.codes_shape),
            Buffer("scales", "uint16", "fp16", shapes.groups_shape),
            zeros,
        )

    @property
    def _workspace(self) -> Buffer | None:
        """The values of a slab of integers."""
        if self.spec.bits and self.spec.form is Form.TILES:
            size = self.schedule.slab_rows(self.spec) * self.spec.integers.depth
            return values("expanded", self.spec.weight, "workers", size)
        return None

    @property
    def expanded(self) -> Pointer:
        """The values of a slab of integers."""
        return Pointer("expanded", pointee(self.spec.weight))

    def pointers(self, *names: str) -> dict[str, Pointer]:
        """The arguments with these names; pointers of absent buffers are never followed."""
        found = pointers(self.buffers, *names)
        return {name: found[name] for name in names}

    def from_column(self, column: int) -> dict[str, Pointer]:
        """Bias, residual and y from an output on."""
        spec = self.spec
        offsets = {
            "bias": column * (2 if spec.swiglu else 1) * Element.F32.bytes,
            "residual": column * Element.F32.bytes,
            "y": column * spec.output.bytes,
        }
        return self._moved(offsets)

    def from_panel(self, panel: int) -> dict[str, Pointer]:
        """Codes, scales and zeros from a panel on."""
        blocks, groups = self.spec.integers.codes_shape[1:], self.spec.integers.groups_shape[1]
        words = blocks[0] * blocks[1] * blocks[2]
        offsets = {
            "codes": panel * words * 4,
            "scales": panel * groups * PANEL_ROWS * 2,
            "zeros": panel * groups * PANEL_ROWS,
        }
        return self._moved(offsets)

    def _moved(self, offsets: dict[str, int]) -> dict[str, Pointer]:
        present = {buffer.name: buffer for buffer in self.buffers if buffer is not None}
        return {
            name: present[name].pointer(offset) if name in present else CONTROL.pointer()
            for name, offset in offsets.items()
        }

    @property
    def live(self) -> dict[str, Any]:
        """Where the number of live rows stands."""
        return {"LIVE": LIVE_WORD[self.spec.extent]}

    @property
    def product(self) -> dict[str, Any]:
        """Constants of a product."""
        spec = self.spec
        return {
            "DEPTH": spec.depth,
            "X_START": spec.x_start,
            "X_PITCH": spec.x_pitch,
            "PRECISION": "ieee" if spec.weight is Element.F32 else "tf32",
        }

    @property
    def epilogue(self) -> dict[str, Any]:
        """Constants of the epilogue."""
        spec = self.spec
        return {
            "BIAS": spec.bias,
            "SWIGLU": spec.swiglu,
            "SCALE": spec.scale,
            "COLUMNS": spec.columns,
            "Y_PITCH": spec.y_pitch,
            "RESIDUAL_START": spec.residual_start,
            "RESIDUAL_PITCH": spec.residual_pitch,
        }

    @property
    def integers(self) -> dict[str, Any]:
        """Constants of the layout of integers."""
        spec = self.spec
        return {
            "BLOCKS": spec.integers.codes_shape[1],
            "WORDS": spec.integers.words,
            "GROUP": spec.group,
            "BITS": spec.bits,
            "RANGE": 1 << spec.bits,
            "ZEROS": spec.zeros,
        }
