"""Manifold-constrained hyper-connections: residual streams that every block reads and mixes."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.ir import SSAValue

from sala_compile.sala_ir.dialect import (
    ConnectStreamsOp,
    JoinStreamsOp,
    SliceOp,
    SpreadStreamsOp,
    WeightRole,
    columns_of,
)
from sala_compile.sala_ir.frontends.kit.decoder import Mixer
from sala_compile.sala_ir.frontends.kit.step import StepWriter


@dataclass(frozen=True, slots=True)
class HyperConnections:
    """`count` streams of a model; `iterations` and `eps` make the matrices that mix them.

    Tensors are `<prefix of the layer><name>_fn`, `_base` and `_scale`, the names those of what is
    around the mixer and around the MLP.
    """

    count: int
    iterations: int
    eps: float
    norm_eps: float
    names: tuple[str, str] = ("hc_attn", "hc_ffn")

    def begin(self, step: StepWriter, hidden: SSAValue) -> SSAValue:
        """Every stream is the embedding."""
        return step.emit(SpreadStreamsOp(hidden, streams=self.count), "hidden")

    def around(self, step: StepWriter, x: SSAValue, place: int, part: Mixer) -> SSAValue:
        """A weighted sum of the streams goes into the part; what comes out is added to a mix."""
        count, layer, name = self.count, step.layer, step.prefix + self.names[place]
        numbers = count * (count + 2)
        matrix = step.weight(f"{name}_fn", (numbers, columns_of(x)), WeightRole.STREAMS)
        op = ConnectStreamsOp(
            step.product(x, matrix, "connections"),
            x,
            step.weight(f"{name}_base", (numbers,)),
            step.weight(f"{name}_scale", (3,)),
            streams=count,
            iterations=self.iterations,
            eps=self.eps,
            norm_eps=self.norm_eps,
            layer=layer,
        )
        connections = step.emit(op, "connections")
        shares, gains, mix = (
            step.emit(SliceOp(connections, start=start, size=size, layer=layer), hint)
            for start, size, hint in (
                (0, count, "shares"),
                (count, count, "gains"),
                (2 * count, count**2, "mix"),
            )
        )
        joined = step.emit(JoinStreamsOp(x, shares, streams=count, layer=layer), "joined")
        spread = SpreadStreamsOp(part(joined), x, gains, mix, streams=count, layer=layer)
        return step.emit(spread, "hidden")

    def end(self, step: StepWriter, x: SSAValue) -> SSAValue:
        """The mean of the streams."""
        return step.emit(JoinStreamsOp(x, streams=self.count), "hidden")
