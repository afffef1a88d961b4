"""The gated delta rule: a state that decays and is corrected, after short convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from sala_compile.sala_ir.attention_sizes import StateHeads
from sala_compile.sala_ir.dialect import (
    ConvolutionWindowType,
    GatedDeltaOp,
    RecurrentStateType,
    SliceOp,
    WeightRole,
)
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.kit.convolution import short_convolution
from sala_compile.sala_ir.frontends.kit.step import StepWriter

PACKED_WINDOW, STATE = "convolution_window", "recurrent_state"
UNIT_EPS = 1e-6
"""What is added to the squares of a head before it is divided by its length."""


@dataclass(frozen=True, slots=True)
class GatedDelta:
    """Parameters of the delta layers of a model; projections and convolutions of q, k and v each.

    `taps` is the length of the convolutions; tensors are those of `linear_attn`.
    """

    heads: StateHeads
    taps: int
    rate_scale: float = 1.0

    @property
    def states(self) -> Mapping[str, StateType]:
        """States of a layer by kind."""
        heads, window = self.heads, self.taps - 1
        columns = {"q": heads.key_columns, "k": heads.key_columns, "v": heads.value_columns}
        return {
            **{
                f"{name}_window": ConvolutionWindowType(window, count, f32)
                for name, count in columns.items()
            },
            STATE: RecurrentStateType(heads.num_heads, heads.key_dim, heads.value_dim, f32),
        }

    @property
    def packed_states(self) -> Mapping[str, StateType]:
        """States of a layer with one convolution over queries, keys and values side by side."""
        heads, columns = self.heads, 2 * self.heads.key_columns + self.heads.value_columns
        return {
            PACKED_WINDOW: ConvolutionWindowType(self.taps - 1, columns, f32),
            STATE: RecurrentStateType(heads.num_heads, heads.key_dim, heads.value_dim, f32),
        }

    def emit_packed(
        self,
        step: StepWriter,
        batch: SSAValue,
        qkv: SSAValue,
        decay: SSAValue,
        rate: SSAValue,
    ) -> SSAValue:
        """One convolution and the recurrence of queries, keys and values side by side."""
        keys, values = self.heads.key_columns, self.heads.value_columns
        name = "linear_attn.conv1d"
        mixed = short_convolution(step, batch, qkv, name, PACKED_WINDOW, self.taps)
        places = (("q", 0, keys), ("k", keys, keys), ("v", 2 * keys, values))
        parts = (
            step.emit(SliceOp(mixed, start=start, size=size, layer=step.layer), hint)
            for hint, start, size in places
        )
        return self._recur(step, batch, *parts, decay, rate)

    def emit(self, step: StepWriter, batch: SSAValue, x: SSAValue) -> SSAValue:
        """Projections, convolutions and recurrence; the output is not normalised."""
        heads = self.heads
        q, k, v = (
            short_convolution(
                step,
                batch,
                step.linear(x, f"linear_attn.{name}_proj", rows),
                f"linear_attn.{name}_conv1d",
                f"{name}_window",
                self.taps,
            )
            for name, rows in (
                ("q", heads.key_columns),
                ("k", heads.key_columns),
                ("v", heads.value_columns),
            )
        )
        decay, rate = (
            step.linear(x, f"linear_attn.{name}_proj", heads.num_heads, role=WeightRole.DECAY)
            for name in ("a", "b")
        )
        return self._recur(step, batch, q, k, v, decay, rate)

    def _recur(self, step: StepWriter, batch: SSAValue, *operands: SSAValue) -> SSAValue:
        """The recurrence of queries, keys, values, decay and rate."""
        count = (self.heads.num_heads,)
        op = GatedDeltaOp(
            *operands,
            step.state(STATE),
            batch,
            step.weight(f"{step.prefix}linear_attn.A_log", count),
            step.weight(f"{step.prefix}linear_attn.dt_bias", count),
            heads=self.heads,
            eps=UNIT_EPS,
            rate_scale=self.rate_scale,
            layer=step.layer,
        )
        step.update(**{STATE: op.state_out})
        return step.emit(op, "mixed", STATE)
