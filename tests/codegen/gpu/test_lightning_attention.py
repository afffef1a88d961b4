"""Lightning attention's GPU kernels, interpreted, against the float64 reference."""

from dataclasses import replace

import numpy as np
import pytest

from codegen.kernels.lightning_attention.gpu import Form, Schedule, Spec, build
from codegen.kernels.tir.element import Element
from codegen.targets.cuda import CudaTarget
from sala_ir.frontends.minicpm_sala.slopes import lightning_slopes
from sala_ir.reference import lightning_attention
from tests.support.gpu_rows import exact
from tests.support.interpreted import run
from tests.support.steps import EXTRA, Step, aligned, padded, poisoned, step

TARGET = CudaTarget(90)
CHUNK, SEGMENT = 16, 32
CHUNKS = Schedule(CHUNK, SEGMENT, 16, 32, warps=4, scan=256)
STEP = Schedule(1, 1, 16, 0, warps=4)
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
    spec_of(2, 2, 10, norm=True, rope=True),
    spec_of(2, 1, 16, norm=True, rope=False),
    spec_of(1, 1, 30, norm=False, rope=True),
    replace(spec_of(1, 1, 8, norm=False, rope=False), out_element=Element.BF16),
)
WIDE = spec_of(1, 1, 34, norm=True, rope=True)


class Inputs:
    """Random inputs of a spec for `tokens` rows, poisoned wherever nobody may read."""

    def __init__(self, spec: Spec, tokens: int, slots: int, seed: int = 0):
        random = np.random.default_rng(seed)
        size = spec.head_dim
        self.spec = spec
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

    def rows(self, rows: slice) -> "Inputs":
        """The same inputs for a part of the tokens; the state is shared."""
        part = object.__new__(Inputs)
        part.spec, part.state, part.norms = self.spec, self.state, self.norms
        part.merged, part.rope = aligned(self.merged[rows]), aligned(self.rope[rows])
        return part

    def run(self, batch: Step, schedule: Schedule = CHUNKS, **options: bool) -> np.ndarray:
        """The kernel's output; the state changes in place."""
        form = Form.STEP if schedule is STEP else Form.CHUNKS
        spec = replace(self.spec, form=form)
        kernel = build(spec, TARGET, schedule)
        bucket = {"tokens": batch.tokens + EXTRA, "sequences": len(batch.counts) + 2}
        used = spec.num_heads * spec.head_dim
        out = poisoned(batch.tokens + EXTRA, padded(used), dtype=spec.out_element.dtype)
        before = out.copy()
        slots = bucket["tokens"] // SEGMENT + bucket["sequences"]
        optional = {"q_norm": self.norms[0], "k_norm": self.norms[1], "rope": self.rope}
        optional["segments"] = poisoned(1, slots * spec.state_size)
        buffers = {name: batch.field(name) for name in ("control", "offsets", "history", "slots")}
        buffers |= {name: self.merged for name in "qkv"} | {"state": self.state, "out": out}
        present = {parameter.name for parameter in kernel.parameters}
        buffers |= {name: value for name, value in optional.items() if name in present}
        run(kernel, buffers, bucket, **options)
        rest = slice(batch.tokens, None)
        assert np.array_equal(out[rest].view(np.uint8), before[rest].view(np.uint8))
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


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    """Equal to a few roundings of the largest value."""
    bound = 5e-3 if found.dtype == np.uint16 else 3e-6
    return bool(np.abs(exact(found) - expected).max() <= bound * np.abs(expected).max())


def check(spec: Spec, batch: Step, schedule: Schedule, **options: bool) -> None:
    """Outputs and states are the reference's; the states of other slots stay as they are."""
    slots = len(batch.counts) + 2
    inputs = Inputs(spec, batch.tokens, slots)
    for slot, past in zip(batch.slots, batch.history, strict=True):
        if past == 0:
            inputs.state[slot] = np.nan
    before = inputs.state.copy()
    out, states = inputs.expected(batch)
    assert close(inputs.run(batch, schedule, **options), out)
    for slot in range(slots):
        if slot in batch.slots:
            assert close(inputs.state[slot], states[slot])
        else:
            assert np.array_equal(inputs.state[slot], before[slot], equal_nan=True)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_chunks_equal_the_reference(spec: Spec) -> None:
    counts = (1, SEGMENT + CHUNK + 5, SEGMENT)
    check(spec, step(counts, (3, 0, 9)), CHUNKS, backwards=spec.rope)


def test_chunks_of_a_head_over_several_parts() -> None:
    check(WIDE, step((CHUNK - 1, 0, CHUNK + 1), (5, 3, 0)), CHUNKS)


@pytest.mark.parametrize("spec", [*SPECS, WIDE], ids=lambda spec: spec.symbol)
def test_a_step_equals_the_reference(spec: Spec) -> None:
    check(spec, step((1, 1, 1), (3, 0, 70)), STEP)


def test_nothing_to_do_touches_nothing() -> None:
    batch = step((1,), (2,))
    inputs = Inputs(SPECS[0], 1, 3)
    before = inputs.state.copy()
    for schedule in (CHUNKS, STEP):
        inputs.run(replace(batch, counts=(), history=(), slots=(), call_lengths=()), schedule)
    assert np.array_equal(inputs.state, before)


@pytest.mark.parametrize("schedule", [CHUNKS, STEP], ids=["chunks", "step"])
def test_a_sequence_is_bit_equal_alone_and_in_a_batch(schedule: Schedule) -> None:
    counts = (1, 1, 1) if schedule is STEP else (3, SEGMENT + 6)
    batch = step(counts, (7, 2, 0)[: len(counts)])
    inputs = Inputs(SPECS[0], batch.tokens, 5)
    before = inputs.state.copy()
    together = inputs.run(batch, schedule)
    state = inputs.state.copy()
    for index, slot in enumerate(batch.slots):
        rows = slice(batch.offsets[index], batch.offsets[index + 1])
        alone = replace(
            batch,
            counts=batch.counts[index : index + 1],
            history=batch.history[index : index + 1],
            slots=(slot,),
            call_lengths=batch.call_lengths[index : index + 1],
        )
        inputs.state[...] = before
        assert np.array_equal(inputs.rows(rows).run(alone, schedule), together[rows])
        assert np.array_equal(inputs.state[slot], state[slot])


def test_steps_continue_what_chunks_began() -> None:
    spec, length = SPECS[2], SEGMENT + 9
    whole = step((length + 3,))
    inputs = Inputs(spec, whole.tokens, 3)
    out, states = inputs.expected(whole)
    parts, done = [], 0
    for count, schedule in ((SEGMENT + 1, CHUNKS), (8, CHUNKS), (1, STEP), (1, STEP), (1, STEP)):
        now = replace(whole, counts=(count,), history=(done,))
        parts.append(inputs.rows(slice(done, done + count)).run(now, schedule))
        done += count
    assert close(np.concatenate(parts), out)
    assert close(inputs.state[whole.slots[0]], states[whole.slots[0]])
