"""Mamba-2: a state space whose step follows from the input, after a short convolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from sala_compile.sala_ir.attention_sizes import NO_LIMIT, StateHeads
from sala_compile.sala_ir.dialect import (
    ConcatWeightsOp,
    ConvolutionWindowType,
    LinearOp,
    RecurrentStateType,
    ScaleWeightOp,
    SliceOp,
    SliceWeightOp,
    StateSpaceOp,
    SwigluOp,
    columns_of,
)
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.kit.convolution import short_convolution
from sala_compile.sala_ir.frontends.kit.step import StepWriter

WINDOW, STATE = "convolution_window", "recurrent_state"


@dataclass(frozen=True, slots=True)
class Mamba:
    """Parameters of the Mamba-2 mixers of a model; tensors are those of `name`.

    The rows of the projection are z, x, B, C and dt, each times one of `factors`, and all of it
    times `scale`. With a `norm_eps` the output is normalised by groups, before or after the gate z.
    """

    heads: StateHeads
    taps: int
    has_conv_bias: bool
    norm_eps: float | None
    norm_before_gate: bool
    factors: Sequence[float] = (1.0,) * 5
    scale: float = 1.0
    limits: Sequence[float] = (0.0, NO_LIMIT)
    name: str = "mamba"

    @property
    def states(self) -> Mapping[str, StateType]:
        """States of a layer by kind."""
        heads = self.heads
        columns = heads.value_columns + 2 * heads.key_columns
        return {
            WINDOW: ConvolutionWindowType(self.taps - 1, columns, f32),
            STATE: RecurrentStateType(heads.num_heads, heads.key_dim, heads.value_dim, f32),
        }

    def emit(
        self, step: StepWriter, batch: SSAValue, x: SSAValue, hidden: int, scale: float = 1.0
    ) -> SSAValue:
        """Projection, convolution, recurrence, gate, and the output projection times `scale`."""
        heads, layer = self.heads, step.layer
        inner, keys = heads.value_columns, heads.key_columns
        z, mixed, dt = self._projections(step, x)
        mixed = short_convolution(
            step, batch, mixed, f"{self.name}.conv1d", WINDOW, self.taps, bias=self.has_conv_bias
        )
        v, k, q = (
            step.emit(SliceOp(mixed, start=start, size=size, layer=layer), name)
            for name, start, size in (
                ("x", 0, inner),
                ("b", inner, keys),
                ("c", inner + keys, keys),
            )
        )
        weights = (
            step.weight(f"{step.prefix}{self.name}.{name}", (heads.num_heads,))
            for name in ("A_log", "dt_bias", "D")
        )
        least, most = self.limits
        op = StateSpaceOp(
            *(q, k, v, dt, step.state(STATE), batch, *weights),
            heads=heads,
            least=float(least),
            most=float(most),
            layer=layer,
        )
        step.update(**{STATE: op.state_out})
        y = self._gated(step, step.emit(op, "y", STATE), z)
        return step.linear(y, f"{self.name}.out_proj", hidden, scale=scale, hint="recurrent")

    def _projections(self, step: StepWriter, x: SSAValue) -> tuple[SSAValue, SSAValue, SSAValue]:
        """z, what the convolution reads, and dt: rows of one matrix."""
        heads, layer = self.heads, step.layer
        inner, keys = heads.value_columns, heads.key_columns
        sizes = (inner, inner, keys, keys, heads.num_heads)
        shape = (sum(sizes), columns_of(x))
        whole = step.weight(f"{step.prefix}{self.name}.in_proj.weight", shape)
        rows: list[SSAValue] = []
        start = 0
        for size, factor in zip(sizes, self.factors, strict=True):
            part = step.emit(SliceWeightOp(whole, start=start, size=size, layer=layer), "part")
            if factor != 1.0:
                part = step.emit(ScaleWeightOp(part, factor=float(factor), layer=layer), "part")
            rows.append(part)
            start += size
        joined = step.emit(ConcatWeightsOp(rows[1:4], layer=layer), "xbc_rows")
        z, mixed, dt = (
            step.emit(LinearOp(x, weight, scale=self.scale, layer=layer), name)
            for name, weight in (("z", rows[0]), ("xbc", joined), ("dt", rows[4]))
        )
        return z, mixed, dt

    def _gated(self, step: StepWriter, y: SSAValue, z: SSAValue) -> SSAValue:
        """y * silu(z), normalised before or after, or not at all."""

        def norm(value: SSAValue) -> SSAValue:
            if self.norm_eps is None:
                return value
            groups = self.heads.key_heads
            group = self.heads.value_columns // groups
            return step.norm(
                value, f"{self.name}.norm", self.norm_eps, group, groups, hint="normal"
            )

        y = norm(y) if self.norm_before_gate else y
        gated = step.emit(SwigluOp(z, y, layer=step.layer), "gated")
        return gated if self.norm_before_gate else norm(gated)
