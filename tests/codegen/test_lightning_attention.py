"""Lightning attention against the float64 reference."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from codegen.kernels.lightning_attention.cpu import CHUNK, Spec, build, default_schedule
from codegen.targets.cpu import CpuTarget
from sala_ir.frontends.minicpm_sala.slopes import lightning_slopes
from sala_ir.reference import lightning_attention
from tests.support.steps import EXTRA, Library, Step, aligned, padded, poisoned, step

HOST = CpuTarget.host()
PORTABLE = CpuTarget("x86-64-v3")
MARGIN = 5
"""Foreign columns before the queries."""


def spec_of(heads: int, kv_heads: int, head_dim: int, *, norm: bool, rope: bool) -> Spec:
    """A spec whose q, k and v stand side by side in one buffer."""
    starts = np.cumsum([MARGIN, heads * head_dim, kv_heads * head_dim, kv_heads * head_dim])
    pitch = padded(int(starts[-1]) + 1)
    return Spec(
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


SPECS = (
    spec_of(3, 3, 10, norm=True, rope=True),
    spec_of(4, 2, 16, norm=True, rope=False),
    spec_of(2, 1, 30, norm=False, rope=True),
    spec_of(5, 5, 8, norm=False, rope=False),
    spec_of(2, 2, 64, norm=True, rope=True),
    spec_of(1, 1, 128, norm=True, rope=True),
    spec_of(2, 2, 82, norm=True, rope=True),
)
PORTABLE_SPECS = (SPECS[0], SPECS[4])


@cache
def library(target: CpuTarget) -> Library:
    """The kernels of all specs for a target."""
    specs = SPECS if target == HOST else PORTABLE_SPECS
    return Library([build(spec, target) for spec in specs], target)


class Inputs:
    """Random inputs of a spec for `tokens` rows, poisoned wherever nobody may read."""

    def __init__(self, spec: Spec, tokens: int, slots: int, seed: int = 0):
        random = np.random.default_rng(seed)
        size = spec.head_dim
        self.spec = spec
        self.merged = poisoned(tokens + EXTRA, spec.q_pitch)
        end = spec.v_start + spec.kv_heads * size
        self.merged[:tokens, MARGIN:end] = random.standard_normal((tokens, end - MARGIN))
        self.state = aligned(
            random.standard_normal((slots, spec.num_heads, size, size)).astype(np.float32)
        )
        self.norms = [aligned(np.zeros(padded(size), np.float32)) for _ in range(2)]
        for norm in self.norms:
            norm[:size] = random.standard_normal(size)
        angles = random.standard_normal((tokens, size // 2))
        self.rope = poisoned(tokens + EXTRA, padded(size))
        self.rope[:tokens, :size] = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)

    def rows(self, rows: slice) -> "Inputs":
        """The same inputs for a part of the tokens; the state is shared."""
        part = object.__new__(Inputs)
        part.spec, part.state, part.norms = self.spec, self.state, self.norms
        part.merged, part.rope = aligned(self.merged[rows]), aligned(self.rope[rows])
        return part

    def run(self, batch: Step, target: CpuTarget) -> np.ndarray:
        """The kernel's output; the state changes in place."""
        spec = self.spec
        used = spec.num_heads * spec.head_dim
        out = poisoned(batch.tokens + EXTRA, padded(used))
        chunk = poisoned(batch.workers, default_schedule(spec, target).workspace(spec.head_dim))
        fields = [batch.field(name) for name in ("control", "offsets", "history", "slots")]
        norms = self.norms if spec.norm else []
        rope = [self.rope] if spec.rope else []
        inputs = [self.merged] * 3 + [self.state, *norms, *rope]
        library(target).call(spec.symbol, *fields, *inputs, out, chunk)
        assert np.isnan(out[batch.tokens :]).all()
        assert (out[: batch.tokens, used:] == 0).all()
        return out[: batch.tokens, :used]

    def expected(self, batch: Step) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """The reference's output and new states."""
        spec = self.spec
        sizes = (spec.num_heads, spec.kv_heads, spec.kv_heads)
        merged = self.merged[: batch.tokens].astype(np.float64)
        starts = (spec.q_start, spec.k_start, spec.v_start)
        q, k, v = (
            merged[:, start : start + heads * spec.head_dim]
            for start, heads in zip(starts, sizes, strict=True)
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
            num_heads=spec.num_heads,
            kv_heads=spec.kv_heads,
            head_dim=spec.head_dim,
            scale=spec.scale,
            eps=spec.eps,
            slopes=spec.slopes,
        )
        return out, dict(states)


def close(actual: np.ndarray, expected: np.ndarray) -> bool:
    """Equal to a few float32 roundings of the largest value."""
    return bool(np.abs(actual - expected).max() <= 3e-6 * np.abs(expected).max())


BATCHES = (
    ((1, CHUNK + 6, CHUNK, 2), (0, 0, 5, 9)),
    ((1, CHUNK - 1, CHUNK + 1, 2 * CHUNK), (3, 0, 5, 9)),
)


@pytest.mark.parametrize(
    ("spec", "target"),
    [(spec, HOST) for spec in SPECS] + [(spec, PORTABLE) for spec in PORTABLE_SPECS],
    ids=lambda x: x.symbol if isinstance(x, Spec) else x.name,
)
@pytest.mark.parametrize(("counts", "history"), BATCHES, ids=("short", "long"))
def test_equals_reference(
    spec: Spec, target: CpuTarget, counts: tuple[int, ...], history: tuple[int, ...]
) -> None:
    batch = step(counts, history)
    inputs = Inputs(spec, batch.tokens, len(counts) + 2)
    for slot, past in zip(batch.slots, history, strict=True):
        if past == 0:
            inputs.state[slot] = np.nan
    before = inputs.state.copy()
    out, states = inputs.expected(batch)
    assert close(inputs.run(batch, target), out)
    for slot in range(len(counts) + 2):
        if slot in batch.slots:
            assert close(inputs.state[slot], states[slot])
        else:
            assert np.array_equal(inputs.state[slot], before[slot], equal_nan=True)


@pytest.mark.parametrize("spec", SPECS[:2], ids=lambda spec: spec.symbol)
def test_a_sequence_is_bit_equal_alone_and_in_a_batch(spec: Spec) -> None:
    batch = step((1, 70, 3, 64), (7, 2, 0, 5))
    inputs = Inputs(spec, batch.tokens, 6)
    before = inputs.state.copy()
    together = inputs.run(batch, HOST)
    state = inputs.state.copy()
    for index, slot in enumerate(batch.slots):
        rows = slice(batch.offsets[index], batch.offsets[index + 1])
        alone = replace(
            batch,
            counts=batch.counts[index : index + 1],
            history=batch.history[index : index + 1],
            slots=(slot,),
            call_lengths=batch.call_lengths[index : index + 1],
            workers=1,
        )
        inputs.state[...] = before
        assert np.array_equal(inputs.rows(rows).run(alone, HOST), together[rows])
        assert np.array_equal(inputs.state[slot], state[slot])


@pytest.mark.parametrize("pieces", [(1,) * 9, (8, 1), (3, 6), (1, 8)], ids=str)
def test_continues_from_any_split(pieces: tuple[int, ...]) -> None:
    spec = SPECS[2]
    whole = step((CHUNK + 9,))
    inputs = Inputs(spec, whole.tokens, 3)
    out, states = inputs.expected(whole)
    first = replace(whole, counts=(CHUNK,), call_lengths=(CHUNK,))
    parts = [inputs.rows(slice(0, CHUNK)).run(first, HOST)]
    done = CHUNK
    for count in pieces:
        now = replace(whole, counts=(count,), history=(done,))
        parts.append(inputs.rows(slice(done, done + count)).run(now, HOST))
        done += count
    assert close(np.concatenate(parts), out)
    assert close(inputs.state[whole.slots[0]], states[whole.slots[0]])
