"""What a kernel of a gated recurrence is compiled for, and what it is called with."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sala_compile.codegen.kernels.arguments import Arguments, activation, given, state
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.attention_sizes import NO_LIMIT
from sala_compile.sala_ir.dialect.recurrence import GatedDeltaOp, StateSpaceOp

CHUNK = 64
"""Tokens of one chunk of the chunked form."""


class Rule(StrEnum):
    """What is written into the state: the value, or what the state lacks of it."""

    SUM = "sum"
    DELTA = "delta"


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """What the kernel is compiled for.

    q, k, v, decay and rate are columns from `*_start` on of rows `*_pitch` floats apart. `eps`,
    `rate_scale` and `rate` belong to the delta rule, which takes q and k of unit length; so does
    `channel_decay`: every row of a state has a decay of its own, and `lower_bound`, below 0 where
    the logarithms of decays have one. `least`, `most` and `skip` belong to the sum.
    """

    rule: Rule
    num_heads: int
    key_heads: int
    key_dim: int
    value_dim: int
    scale: float
    q_start: int
    q_pitch: int
    k_start: int
    k_pitch: int
    v_start: int
    v_pitch: int
    decay_start: int
    decay_pitch: int
    out_element: Element
    rate_start: int = 0
    rate_pitch: int = 0
    eps: float = 0.0
    rate_scale: float = 1.0
    channel_decay: bool = False
    lower_bound: float = 0.0
    least: float = 0.0
    most: float = NO_LIMIT
    skip: bool = False

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        heads = f"h{self.num_heads}_kh{self.key_heads}"
        kind = "channels" if self.channel_decay else self.rule
        return f"gated_{kind}_{heads}_k{self.key_dim}_v{self.value_dim}"

    @property
    def decays(self) -> int:
        """Decays of a head."""
        return self.key_dim if self.channel_decay else 1


def fields_of(op: GatedDeltaOp | StateSpaceOp) -> dict[str, Any] | str:
    """The fields of a Spec; the reason of a refusal unless all is float32, the state too."""
    inputs = {"q": op.q, "k": op.k, "v": op.v, "decay": op.decay}
    weights = {"decay_rate": op.decay_rate, "decay_bias": op.decay_bias}
    own: dict[str, Any] = {"rule": Rule.DELTA}
    if isinstance(op, StateSpaceOp):
        weights["skip"] = op.skip
        own = {"rule": Rule.SUM, "skip": True}
    else:
        inputs["rate"] = op.rate
        own["channel_decay"] = op.has_channel_decay
    refusal = refuse_unless_float32(**inputs, **weights, state=op.state)
    if refusal:
        return refusal
    return {**op.parameters, **column_views(**inputs), **own, "out_element": element(op.out)}


def inputs(spec: Spec) -> Arguments:
    """The operands of the operation as arguments."""
    heads, sizes = spec.num_heads, (spec.key_dim, spec.value_dim)
    return (
        *(
            activation(name, "f32", getattr(spec, f"{name}_pitch"))
            for name in ("q", "k", "v", "decay")
        ),
        activation("rate", "f32", spec.rate_pitch, when=spec.rule is Rule.DELTA),
        state("state", "f32", "state_slots", heads, *sizes, operand="state"),
        given("decay_rate", "f32", padded(heads)),
        given("decay_bias", "f32", padded(heads * spec.decays)),
        given("skip", "f32", padded(heads), when=spec.skip),
    )
