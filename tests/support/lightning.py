"""Random inputs of lightning attention for tests of its kernels, and what the reference gives."""

from typing import Any, Self

import numpy as np

from sala_compile.codegen.kernels.lightning_attention import spec as sizes
from sala_compile.sala_ir.attention_sizes import Heads
from sala_compile.sala_ir.frontends.kit.lightning import lightning_slopes
from sala_compile.sala_ir.reference import lightning_attention
from tests.support.steps import EXTRA, Step, aligned, padded, poisoned

MARGIN = 5
"""Foreign columns before the queries."""


def spec_of(kind: Any, heads: int, kv_heads: int, head_dim: int, *, norm: bool, rope: bool) -> Any:
    """A spec of the class `kind` whose q, k and v stand side by side in one buffer."""
    starts = np.cumsum([MARGIN, heads * head_dim, kv_heads * head_dim, kv_heads * head_dim])
    pitch = padded(int(starts[-1]) + 1)
    return kind(
        heads,
        kv_heads,
        head_dim,
        head_dim**-0.5,
        1e-6,
        tuple(float(x) for x in lightning_slopes(heads)),
        *(int(x) for x in starts[:3]),
        *[pitch] * 3,
        norm=norm,
        rope=rope,
    )


class LightningInputs:
    """Random inputs of a spec for `tokens` rows, poisoned wherever nobody may read."""

    def __init__(self, spec: sizes.Spec, tokens: int, slots: int, seed: int = 0):
        random = np.random.default_rng(seed)
        size = spec.head_dim
        self.spec: Any = spec
        self.merged = poisoned(tokens + EXTRA, spec.q_pitch)
        end = spec.v_start + spec.kv_heads * size
        self.merged[:tokens, MARGIN:end] = random.standard_normal((tokens, end - MARGIN))
        shape = (slots, spec.num_heads, size, size)
        self.state = aligned(random.standard_normal(shape).astype(np.float32))
        self.norms = [aligned(np.zeros(padded(size), np.float32)) for _ in range(2)]
        for norm in self.norms:
            norm[:size] = random.standard_normal(size)
        angles = random.standard_normal((tokens, size // 2))
        self.rope = poisoned(tokens + EXTRA, padded(size))
        self.rope[:tokens, :size] = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)

    def rows(self, rows: slice) -> Self:
        """The same inputs for a part of the tokens; the state is shared."""
        part = object.__new__(type(self))
        part.spec, part.state, part.norms = self.spec, self.state, self.norms
        part.merged, part.rope = aligned(self.merged[rows]), aligned(self.rope[rows])
        return part

    def expected(self, batch: Step) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """The reference's output and new states."""
        spec = self.spec
        counts = (spec.num_heads, spec.kv_heads, spec.kv_heads)
        merged = self.merged[: batch.tokens].astype(np.float64)
        starts = (spec.q_start, spec.k_start, spec.v_start)
        q, k, v = (
            merged[:, start : start + heads * spec.head_dim]
            for start, heads in zip(starts, counts, strict=True)
        )
        norms = [x[: spec.head_dim].astype(np.float64) if spec.norm else None for x in self.norms]
        rope = self.rope[: batch.tokens, : spec.head_dim].astype(np.float64)
        state = {slot: x.astype(np.float64) for slot, x in enumerate(self.state)}
        out, states = lightning_attention(
            q,
            k,
            v,
            state,
            batch.reference,
            *norms,
            rope if spec.rope else None,
            heads=Heads(spec.num_heads, spec.kv_heads, spec.head_dim, spec.scale),
            eps=spec.eps,
            slopes=spec.slopes,
        )
        return out, dict(states)
