"""Kimi delta attention: the delta rule with a decay of every row, convolutions and a gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.ir import SSAValue

from sala_compile.sala_ir.attention_sizes import StateHeads
from sala_compile.sala_ir.dialect import GatedDeltaOp, OutputGateOp, WeightRole, columns_of
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.kit.convolution import short_convolution
from sala_compile.sala_ir.frontends.kit.delta import UNIT_EPS, GatedDelta
from sala_compile.sala_ir.frontends.kit.step import StepWriter

RATE, RATES = "A_log", "dt_bias"
"""Tensors of the decays: one number for a head, and one for each of its rows."""


@dataclass(frozen=True, slots=True)
class KimiDelta:
    """Parameters of the layers of a model: `count` heads of `size` rows and columns.

    Tensors begin with `prefix`. `decay` and `gate` are the matrices that make them, one after the
    other, the inner ones of `size` rows; `output` is the last one. `lower_bound` is 0 where the
    logarithms of decays have none.
    """

    count: int
    size: int
    taps: int
    eps: float
    prefix: str
    decay: tuple[str, ...]
    gate: tuple[str, ...]
    output: str = "o_proj"
    lower_bound: float = 0.0

    @property
    def heads(self) -> StateHeads:
        """As many heads of keys as of values."""
        return StateHeads(self.count, self.count, self.size, self.size, self.size**-0.5)

    @property
    def states(self) -> Mapping[str, StateType]:
        """States of a layer by kind."""
        return GatedDelta(self.heads, self.taps).states

    def emit(self, step: StepWriter, batch: SSAValue, x: SSAValue) -> SSAValue:
        """From normalised rows to what the layer adds: outputs normalised by head, and gated."""
        columns, prefix = self.heads.value_columns, self.prefix
        q, k, v = (
            short_convolution(
                step,
                batch,
                step.linear(x, f"{prefix}{name}_proj", columns),
                f"{prefix}{name}_conv1d",
                f"{name}_window",
                self.taps,
            )
            for name in "qkv"
        )
        decay = self._chain(step, x, self.decay, WeightRole.DECAY)
        name, role = f"{prefix}b_proj", WeightRole.DECAY
        rate = step.linear(x, name, self.count, role=role, hint="rate")
        place = step.prefix + prefix
        op = GatedDeltaOp(
            *(q, k, v, decay, rate),
            step.state("recurrent_state"),
            batch,
            step.weight(place + RATE, (self.count,)),
            step.weight(place + RATES, (columns,)),
            heads=self.heads,
            eps=UNIT_EPS,
            lower_bound=self.lower_bound,
            layer=step.layer,
        )
        step.update(recurrent_state=op.state_out)
        mixed = step.emit(op, "mixed", "recurrent_state")
        normal = step.norm(mixed, f"{prefix}o_norm", self.eps, self.size, hint="o")
        gate = self._chain(step, x, self.gate, WeightRole.OUTPUT_GATE)
        gated = step.emit(OutputGateOp(normal, gate, layer=step.layer), "gated")
        return step.linear(gated, prefix + self.output, columns_of(x), hint="mixed")

    def _chain(
        self, step: StepWriter, x: SSAValue, names: tuple[str, ...], role: WeightRole
    ) -> SSAValue:
        """Matrices one after the other, the last of as many rows as there are values."""
        *inner, last = names
        for name in inner:
            x = step.linear(x, self.prefix + name, self.size, role=role)
        return step.linear(x, self.prefix + last, self.heads.value_columns, role=role)
