"""What a kernel of products of streams is compiled for, and what it is called with."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, activation, batch, result
from sala_compile.codegen.kernels.operands import column_views, refuse_unless_float32
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.base import columns_of
from sala_compile.sala_ir.dialect.ngrams import ScoreStreamsOp


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Streams of `columns` each; key and query are at `*_start` of rows `*_pitch` floats apart."""

    streams: int
    columns: int
    scale: float
    least: float
    key_start: int
    key_pitch: int
    query_start: int
    query_pitch: int

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        return f"score_streams_{self.streams}x{self.columns}"


def describe(op: ScoreStreamsOp, target: object) -> Spec | str:
    """Take float32 operands and results."""
    refusal = refuse_unless_float32(key=op.key, query=op.query, result=op.result)
    if refusal:
        return refusal
    streams = op.streams.value.data
    return Spec(
        streams=streams,
        columns=columns_of(op.key) // streams,
        scale=op.scale.value.data,
        least=op.least.value.data,
        **column_views(key=op.key, query=op.query),
    )


def arguments(spec: Spec, schedule: object = None) -> Arguments:
    """The arguments of a call."""
    return (
        *batch("control"),
        activation("key", "f32", spec.key_pitch),
        activation("query", "f32", spec.query_pitch),
        result("y", "f32", padded(spec.streams)),
    )
