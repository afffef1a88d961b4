"""Random inputs of the gated delta rule for tests of its kernels, and what the reference gives."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from sala_compile.codegen.kernels.gated_delta.spec import Spec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.sala_ir.attention_sizes import DeltaHeads
from sala_compile.sala_ir.reference import gated_delta
from tests.support.columns import column_starts, side_by_side
from tests.support.steps import Step, aligned, padded


def spec_of(
    heads: int, key_heads: int, key_dim: int, value_dim: int, rate_scale: float = 1.0
) -> Spec:
    """A spec whose q, k, v, decay and rate stand side by side in one buffer."""
    views, _ = column_starts(_sizes(heads, key_heads, key_dim, value_dim))
    sizes = (heads, key_heads, key_dim, value_dim)
    return Spec(*sizes, key_dim**-0.5, 1e-6, rate_scale, **views, out_element=Element.F32)


def _sizes(heads: int, key_heads: int, key_dim: int, value_dim: int) -> Mapping[str, int]:
    keys = key_heads * key_dim
    return {"q": keys, "k": keys, "v": heads * value_dim, "decay": heads, "rate": heads}


class DeltaInputs:
    """Random inputs of a spec for `tokens` rows, poisoned wherever nobody may read.

    Decays range from all but nothing to all but everything of a state.
    """

    def __init__(self, spec: Spec, tokens: int, slots: int, seed: int = 0):
        random = np.random.default_rng(seed)
        self.spec = spec
        self.sizes = _sizes(spec.num_heads, spec.key_heads, spec.key_dim, spec.value_dim)
        self.merged = side_by_side(tokens, self.sizes, random)
        self.merged[:tokens, spec.decay_start : spec.decay_start + spec.num_heads] *= 4.0
        shape = (slots, spec.num_heads, spec.key_dim, spec.value_dim)
        self.state = aligned(random.standard_normal(shape).astype(np.float32))
        self.weights = [aligned(np.zeros(padded(spec.num_heads), np.float32)) for _ in range(2)]
        for weight in self.weights:
            weight[: spec.num_heads] = random.standard_normal(spec.num_heads)

    def rows(self, rows: slice) -> Self:
        """The same inputs for a part of the tokens; the state is shared."""
        part = object.__new__(type(self))
        part.spec, part.sizes = self.spec, self.sizes
        part.state, part.weights = self.state, self.weights
        part.merged = aligned(self.merged[rows])
        return part

    def expected(self, batch: Step) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """The reference's output and new states, in float64."""
        spec = self.spec
        merged: Any = self.merged[: batch.tokens].astype(np.float64)
        columns = (
            merged[:, start : start + size]
            for name, size in self.sizes.items()
            for start in [getattr(spec, f"{name}_start")]
        )
        weights = (x[: spec.num_heads].astype(np.float64) for x in self.weights)
        state = {slot: x.astype(np.float64) for slot, x in enumerate(self.state)}
        heads = DeltaHeads(spec.num_heads, spec.key_heads, spec.key_dim, spec.value_dim, spec.scale)
        out, states = gated_delta(
            *columns,
            state,
            batch.reference,
            *weights,
            heads=heads,
            eps=spec.eps,
            rate_scale=spec.rate_scale,
        )
        return out, dict(states)
