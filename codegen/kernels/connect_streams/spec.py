"""What a kernel of connections of streams is compiled for, and what it is called with."""

from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.arguments import (
    Arguments,
    activation,
    batch,
    given,
    result,
    workspace,
)
from sala_compile.codegen.kernels.operands import column_views, refuse_unless_float32
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.builder import LANES
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.base import columns_of
from sala_compile.sala_ir.dialect.streams import ConnectStreamsOp

MOST_STREAMS = 8
"""A matrix of N x N vectors is in registers, or on the stack."""


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Streams of `columns` together; logits and x are views of columns."""

    streams: int
    columns: int
    iterations: int
    eps: float
    norm_eps: float
    logits_start: int
    logits_pitch: int
    x_start: int
    x_pitch: int

    @property
    def count(self) -> int:
        """Numbers of a token."""
        return self.streams * (self.streams + 2)

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        return f"connect_streams_{self.streams}x{self.columns // self.streams}_i{self.iterations}"


def describe(op: ConnectStreamsOp, target: object) -> Spec | str:
    """Take up to 8 streams of float32."""
    operands = {"logits": op.logits, "x": op.x, "base": op.base, "scale": op.scale}
    refusal = refuse_unless_float32(**operands, result=op.result)
    if refusal:
        return refusal
    own: dict[str, Any] = dict(op.parameters)
    if own["streams"] > MOST_STREAMS:
        return f"streams must be at most {MOST_STREAMS}, not {own['streams']}"
    return Spec(columns=columns_of(op.x), **own, **column_views(logits=op.logits, x=op.x))


def arguments(spec: Spec, schedule: object = None) -> Arguments:
    """The arguments of a call; a worker keeps the logits of its tokens, a lane for each token."""
    return (
        *batch("control"),
        activation("logits", "f32", spec.logits_pitch),
        activation("x", "f32", spec.x_pitch),
        given("base", "f32", padded(spec.count)),
        given("scale", "f32", padded(3)),
        result("result", "f32", padded(spec.count)),
        workspace("turned", "f32", spec.count * LANES),
    )
