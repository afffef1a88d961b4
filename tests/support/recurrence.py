"""Random inputs of gated recurrences for tests of their kernels, and what the reference gives."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from sala_compile.codegen.kernels.gated_recurrence.spec import Rule, Spec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.sala_ir.attention_sizes import StateHeads
from sala_compile.sala_ir.reference import gated_delta, state_space
from tests.support.columns import column_starts, side_by_side
from tests.support.steps import Step, aligned, padded


def delta_of(
    heads: int,
    key_heads: int,
    key_dim: int,
    value_dim: int,
    rate_scale: float = 1.0,
    *,
    kind: Any = Spec,
    **channels: Any,
) -> Any:
    """A spec of the class `kind`: the delta rule, operands side by side in one buffer."""
    sizes = (heads, key_heads, key_dim, value_dim)
    decays = key_dim if channels.get("channel_decay") else 1
    views, _ = column_starts(_columns(Rule.DELTA, *sizes, decays))
    own = {"eps": 1e-6, "rate_scale": rate_scale, **channels}
    return kind(Rule.DELTA, *sizes, key_dim**-0.5, **views, out_element=Element.F32, **own)


def sum_of(
    heads: int, key_heads: int, key_dim: int, value_dim: int, kind: Any = Spec, **limits: float
) -> Any:
    """A spec of the class `kind`: Mamba-2's rule, operands side by side in one buffer."""
    sizes = (heads, key_heads, key_dim, value_dim)
    views, _ = column_starts(_columns(Rule.SUM, *sizes))
    return kind(Rule.SUM, *sizes, 0.7, **views, out_element=Element.F32, skip=True, **limits)


def _columns(
    rule: Rule, heads: int, key_heads: int, key_dim: int, value_dim: int, decays: int = 1
) -> Mapping[str, int]:
    keys = key_heads * key_dim
    sizes = {"q": keys, "k": keys, "v": heads * value_dim, "decay": heads * decays}
    return sizes | ({"rate": heads} if rule is Rule.DELTA else {})


class RecurrenceInputs:
    """Random inputs of a spec for `tokens` rows, poisoned wherever nobody may read.

    Decays range from all but nothing to all but everything of a state.
    """

    def __init__(self, spec: Spec, tokens: int, slots: int, seed: int = 0):
        random = np.random.default_rng(seed)
        self.spec, heads = spec, spec.num_heads
        sizes = (heads, spec.key_heads, spec.key_dim, spec.value_dim, spec.decays)
        self.columns = _columns(spec.rule, *sizes)
        self.merged = side_by_side(tokens, self.columns, random)
        decays = heads * spec.decays
        self.merged[:tokens, spec.decay_start : spec.decay_start + decays] *= 4.0
        shape = (slots, heads, spec.key_dim, spec.value_dim)
        self.state = aligned(random.standard_normal(shape).astype(np.float32))
        self.weight_sizes = (heads, decays, heads)[: 3 if spec.skip else 2]
        self.weights = [aligned(np.zeros(padded(n), np.float32)) for n in self.weight_sizes]
        for weight, size in zip(self.weights, self.weight_sizes, strict=True):
            weight[:size] = random.standard_normal(size)

    def rows(self, rows: slice) -> Self:
        """The same inputs for a part of the tokens; the state is shared."""
        part = object.__new__(type(self))
        part.spec, part.columns = self.spec, self.columns
        part.state, part.weights = self.state, self.weights
        part.weight_sizes = self.weight_sizes
        part.merged = aligned(self.merged[rows])
        return part

    @property
    def named_weights(self) -> dict[str, np.ndarray]:
        """The weights by name."""
        return dict(zip(("decay_rate", "decay_bias", "skip"), self.weights, strict=False))

    def expected(self, batch: Step) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """The reference's output and new states, in float64."""
        spec = self.spec
        merged: Any = self.merged[: batch.tokens].astype(np.float64)
        columns = (
            merged[:, start : start + size]
            for name, size in self.columns.items()
            for start in [getattr(spec, f"{name}_start")]
        )
        sized = zip(self.weights, self.weight_sizes, strict=True)
        weights = (x[:size].astype(np.float64) for x, size in sized)
        state = {slot: x.astype(np.float64) for slot, x in enumerate(self.state)}
        heads = StateHeads(spec.num_heads, spec.key_heads, spec.key_dim, spec.value_dim, spec.scale)
        operands: Any = (*columns, state, batch.reference, *weights)
        if spec.rule is Rule.SUM:
            limits = {"least": spec.least, "most": spec.most}
            out, states = state_space(*operands, heads=heads, **limits)
        else:
            own = {
                "eps": spec.eps,
                "rate_scale": spec.rate_scale,
                "lower_bound": spec.lower_bound,
            }
            out, states = gated_delta(*operands, heads=heads, **own)
        return out, dict(states)
