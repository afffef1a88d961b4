"""Lightning attention: a recurrent state that decays, between projections and an output norm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from sala_compile.sala_ir.attention_sizes import Heads
from sala_compile.sala_ir.dialect import LightningAttentionOp, RecurrentStateType
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.kit.fields import config_error
from sala_compile.sala_ir.frontends.kit.step import StepWriter


class LightningScale(StrEnum):
    """The factor on the queries of a Lightning layer, as a function of the head size d."""

    INVERSE_ROOT = "1/sqrt(d)"
    INVERSE = "1/d"
    ONE = "1"

    def factor(self, head_dim: int) -> float:
        """The factor for heads of that size."""
        match self:
            case LightningScale.INVERSE_ROOT:
                return head_dim**-0.5
            case LightningScale.INVERSE:
                return 1.0 / head_dim
            case LightningScale.ONE:
                return 1.0


_SCALES: Mapping[str, LightningScale] = {scale.value: scale for scale in LightningScale} | {
    "1.0": LightningScale.ONE
}


@dataclass(frozen=True, slots=True)
class Lightning:
    """Parameters of the Lightning layers of a model; tensors by the names of MiniCPM-SALA."""

    heads: Heads
    eps: float
    has_bias: bool
    has_qk_norm: bool
    has_output_norm: bool

    @property
    def states(self) -> Mapping[str, StateType]:
        """States of a layer by kind."""
        size = self.heads.head_dim
        return {"recurrent_state": RecurrentStateType(self.heads.num_heads, size, size, f32)}

    def emit(
        self, step: StepWriter, batch: SSAValue, x: SSAValue, table: SSAValue | None
    ) -> SSAValue:
        """Projections, norms, rotation if there is a table, recurrence and output norm."""
        heads, eps, size = self.heads, self.eps, self.heads.head_dim
        q, k, v = (
            step.linear(x, f"self_attn.{name}_proj", rows, bias=self.has_bias)
            for name, rows in (
                ("q", heads.columns),
                ("k", heads.kv_columns),
                ("v", heads.kv_columns),
            )
        )
        if self.has_qk_norm:
            q = step.norm(q, "self_attn.q_norm", eps, size, hint="q")
            k = step.norm(k, "self_attn.k_norm", eps, size, hint="k")
        q, k = (step.rotate(part, table, size) for part in (q, k))
        op = LightningAttentionOp(
            q,
            k,
            v,
            step.state("recurrent_state"),
            batch,
            heads=heads,
            eps=eps,
            slopes=lightning_slopes(heads.num_heads).tolist(),
            layer=step.layer,
        )
        mixed = step.emit(op, "mixed", "recurrent_state")
        step.update(recurrent_state=op.state_out)
        return (
            step.norm(mixed, "self_attn.o_norm", eps, hint="o") if self.has_output_norm else mixed
        )


def lightning_scale(spelling: Any, file: str) -> LightningScale:
    """The factor that a config names; raises `ConfigError` for another text."""
    found = _SCALES.get(spelling) if isinstance(spelling, str) else None
    if type(spelling) in (int, float) and spelling == 1:
        return LightningScale.ONE  # a number is SGLang's spelling; to others any text is 1
    if found is None:
        fix = 'the model\'s own code takes any other string for 1: write "1" if that is meant'
        expected = '"1/sqrt(d)", "1/d" or "1"'
        raise config_error(file, "lightning_scale", spelling, expected, fix)
    return found


def lightning_slopes(num_heads: int) -> NDArray[np.float32]:
    """Slope of each head, float32 [num_heads]; a head's state decays by exp(-slope) per token.

    For a power of two H slope_h = 2^(-8 (h + 1) / H). Otherwise the first p heads, p the largest
    power of two below H, are those of p heads, and head p + i has 2^(-8 (2 i + 1) / (2 p)).
    The slopes do not depend on the layer.
    """
    power = 1 << (num_heads.bit_length() - 1)
    first = 2.0 ** (-8.0 * np.arange(1, power + 1) / power)
    rest = 2.0 ** (-8.0 * (2 * np.arange(num_heads - power) + 1) / (2 * power))
    return np.concatenate([first, rest]).astype(np.float32)


def layer_slopes(num_heads: int, layer: int, layers: int) -> NDArray[np.float32]:
    """Slopes that become smaller from layer to layer, float32 [num_heads], for any head count.

    slope_h = 2^(-8 (h + 1) / H) * (1 - layer / (layers - 1 + 1e-5) + 1e-5), as MiniMax-01 has them.
    """
    base = 2.0 ** (-8.0 * np.arange(1, num_heads + 1) / num_heads)
    return (base * (1 - layer / (layers - 1 + 1e-5) + 1e-5)).astype(np.float32)
