"""What a kernel that adds to streams is compiled for, and what it is called with."""

from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.arguments import Arguments, activation, batch, result
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.base import columns_of
from sala_compile.sala_ir.dialect.streams import SpreadStreamsOp


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Streams of `columns` each; a view of columns is at `start` of rows of `pitch` values.

    A pitch of 0: there is no such operand.
    """

    streams: int
    columns: int
    y_start: int
    y_pitch: int
    x_start: int
    x_pitch: int
    gains_start: int
    gains_pitch: int
    mix_start: int
    mix_pitch: int
    out_element: Element

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        parts = "_new" * (not self.x_pitch) + "_gains" * bool(self.gains_pitch)
        return f"spread_streams_{self.streams}x{self.columns}{parts}" + "_mix" * bool(
            self.mix_pitch
        )


def describe(op: SpreadStreamsOp, target: object) -> Spec | str:
    """Take operands of float32."""
    refusal = refuse_unless_float32(y=op.y, streams=op.x, gains=op.gains, mix=op.mix)
    if refusal:
        return refusal
    views: dict[str, Any] = {}
    for name, value in (("x", op.x), ("gains", op.gains), ("mix", op.mix)):
        absent = {f"{name}_start": 0, f"{name}_pitch": 0}
        views |= absent if value is None else column_views(**{name: value})
    return Spec(
        streams=op.streams.value.data,
        columns=columns_of(op.y),
        out_element=element(op.result),
        **column_views(y=op.y),
        **views,
    )


def arguments(spec: Spec, schedule: object = None) -> Arguments:
    """The arguments of a call."""
    return (
        *batch("control"),
        activation("y", "f32", spec.y_pitch),
        activation("x", "f32", spec.x_pitch, when=bool(spec.x_pitch)),
        activation("gains", "f32", spec.gains_pitch, when=bool(spec.gains_pitch)),
        activation("mix", "f32", spec.mix_pitch, when=bool(spec.mix_pitch)),
        result("result", spec.out_element, padded(spec.streams * spec.columns)),
    )
