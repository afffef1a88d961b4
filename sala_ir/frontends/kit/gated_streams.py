"""Gated hyper connections: blocks read a gated mean of residual streams, and add to all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xdsl.ir import SSAValue

from sala_compile.sala_ir.dialect import (
    JoinStreamsOp,
    OutputGateOp,
    SigmoidOp,
    SiluOp,
    SpreadStreamsOp,
    WeightRole,
    columns_of,
)
from sala_compile.sala_ir.frontends.kit.decoder import Mixer
from sala_compile.sala_ir.frontends.kit.step import StepWriter

_CONNECTIONS = ("attn_hyper_connection", "mlp_hyper_connection")
_LAST = "hyper_connection_mixer"


@dataclass(frozen=True, slots=True)
class GatedStreams:
    """`count` streams as `Decoder` takes them; their gates are made of `rank` numbers.

    Weights of norms are stored less `norm_offset`. What `before` gives of the streams of a layer
    takes their place ahead of its mixer. Gated residuals of Qwen4-Exp.
    """

    count: int
    rank: int
    eps: float
    norm_offset: float
    before: Callable[[StepWriter, SSAValue, GatedStreams], SSAValue]

    def begin(self, step: StepWriter, hidden: SSAValue) -> SSAValue:
        """The embedding in every stream."""
        return step.emit(SpreadStreamsOp(hidden, streams=self.count), "streams")

    def around(self, step: StepWriter, x: SSAValue, place: int, part: Mixer) -> SSAValue:
        """The streams after a mixer (place 0) or an MLP (1)."""
        name = _CONNECTIONS[place]
        if place == 0:
            x = self.before(step, x, self)
        normal = self.normal(step, x, f"{name}.hc_norm")
        logits = step.linear(
            normal,
            f"{name}.block_inject_weight",
            self.count,
            role=WeightRole.OUTPUT_GATE,
            scale=1 / self.count,
            hint="inject",
        )
        y = part(self._mean(step, normal, name))
        gains = step.emit(SigmoidOp(logits, scale=2.0, layer=step.layer), "gains")
        op = SpreadStreamsOp(y, x, gains, streams=self.count, layer=step.layer)
        return step.emit(op, "streams")

    def end(self, step: StepWriter, x: SSAValue) -> SSAValue:
        """The gated mean that the head reads."""
        return self._mean(step, self.normal(step, x, f"{_LAST}.hc_norm"), _LAST)

    def normal(self, step: StepWriter, x: SSAValue, name: str) -> SSAValue:
        """Every stream normalised, with weights of its own."""
        size = columns_of(x) // self.count
        return step.norm(x, name, self.eps, size, self.count, offset=self.norm_offset)

    def _mean(self, step: StepWriter, normal: SSAValue, name: str) -> SSAValue:
        """The mean of the streams, each times a sigmoid of few numbers made of all."""
        place = f"{name}.input_mix_weight"
        low = step.linear(normal, f"{place}_down", self.rank, scale=1 / self.count, hint="low")
        low = step.emit(SiluOp(low, layer=step.layer), "low")
        columns, role = columns_of(normal), WeightRole.OUTPUT_GATE
        gate = step.linear(low, f"{place}_up", columns, role=role, hint="gate")
        gated = step.emit(OutputGateOp(normal, gate, layer=step.layer), "gated")
        return step.emit(JoinStreamsOp(gated, streams=self.count, layer=step.layer), "hidden")
