"""Lightning attention's GPU kernels, interpreted, against the float64 reference."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from sala_compile.codegen.kernels.lightning_attention.gpu.kernel import FAMILY
from sala_compile.codegen.kernels.lightning_attention.gpu.spec import (
    Schedule,
    Spec,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.triton.phase import TokenForm
from sala_compile.codegen.kernels.triton.products import Products
from sala_compile.codegen.targets.cuda import CudaTarget
from tests.support.interpreted import run
from tests.support.lightning import LightningInputs, spec_of
from tests.support.rows import exact
from tests.support.steps import EXTRA, Step, padded, poisoned, step

TARGET = CudaTarget(90)
CHUNK, SEGMENT = 16, 32
CHUNKS = Schedule(CHUNK, SEGMENT, 16, 32, warps=4, scan=256)
STEP = Schedule(1, 1, 16, 0, warps=4)
SPECS = (
    spec_of(Spec, 2, 2, 10, norm=True, rope=True),
    spec_of(Spec, 2, 1, 16, norm=True, rope=False),
    spec_of(Spec, 1, 1, 30, norm=False, rope=True),
    replace(spec_of(Spec, 1, 1, 8, norm=False, rope=False), out_element=Element.BF16),
)
WIDE = spec_of(Spec, 1, 1, 34, norm=True, rope=True)


class Inputs(LightningInputs):
    """Inputs that the kernel runs on."""

    def run(self, batch: Step, schedule: Schedule = CHUNKS, **options: bool) -> np.ndarray:
        """The kernel's output; the state changes in place."""
        form = TokenForm.STEP if schedule is STEP else TokenForm.CHUNKS
        spec = replace(self.spec, form=form)
        kernel = FAMILY.build(spec, TARGET, schedule)
        bucket = {"tokens": batch.tokens + EXTRA, "sequences": len(batch.counts) + 2}
        used = spec.num_heads * spec.head_dim
        out = poisoned(batch.tokens + EXTRA, padded(used), dtype=spec.out_element.dtype)
        before = out.copy()
        slots = bucket["tokens"] // schedule.segment + 2 * bucket["sequences"]
        optional = {"q_norm": self.norms[0], "k_norm": self.norms[1], "rope": self.rope}
        heads = spec.num_heads + spec.kv_heads
        optional["prepared"] = poisoned(1, bucket["tokens"] * heads * spec.head_dim)
        optional["segments"] = poisoned(1, slots * spec.state_size)
        optional["checkpoints"] = batch.field("checkpoints")
        buffers = {name: batch.field(name) for name in ("control", "offsets", "history", "slots")}
        buffers |= {name: self.merged for name in "qkv"} | {"state": self.state, "out": out}
        present = {parameter.name for parameter in kernel.parameters}
        buffers |= {name: value for name, value in optional.items() if name in present}
        run(kernel, buffers, bucket, **options)
        rest = slice(batch.tokens, None)
        assert np.array_equal(out[rest].view(np.uint8), before[rest].view(np.uint8))
        assert (out[: batch.tokens, used:] == 0).all()
        return out[: batch.tokens, :used]

    def in_pieces(self, pieces: Sequence[int], schedule: Schedule, history: int = 0) -> np.ndarray:
        """The outputs of a sequence in slot 0, so many tokens in each step."""
        outs: list[np.ndarray] = []
        first = 0
        for count in pieces:
            rows = self.rows(slice(first, first + count))
            now = replace(step((count,), (history + first,)), slots=(0,))
            outs.append(rows.run(now, schedule))
            first += count
        return np.concatenate(outs)


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
    counts = (1, SEGMENT + CHUNK + 5, SEGMENT, 2)
    check(spec, step(counts, (3, 0, 9, SEGMENT - 1)), CHUNKS, backwards=spec.rope)


def test_chunks_of_a_head_over_several_parts() -> None:
    check(WIDE, step((CHUNK - 1, 0, CHUNK + 1), (5, 3, 0)), CHUNKS)


@pytest.mark.parametrize("spec", [*SPECS, WIDE], ids=lambda spec: spec.symbol)
def test_a_step_equals_the_reference(spec: Spec) -> None:
    check(spec, step((1, 1, 1), (3, 0, 70)), STEP)


@pytest.mark.parametrize("spec", SPECS[:2], ids=lambda spec: spec.symbol)
def test_reading_cut_at_multiples_of_a_segment_gives_the_same_bits(spec: Spec) -> None:
    """After any history, whatever the number of tokens between two cuts, one included."""
    for history in (0, 1, 3 * SEGMENT - 5, SEGMENT, 2 * SEGMENT + 7):
        first = -history % SEGMENT or SEGMENT
        count = first + SEGMENT + CHUNK + 3
        inputs = Inputs(spec, count, 3)
        begin = inputs.state.copy()
        for end, cuts in ((count, [first]), (count, [first, SEGMENT]), (first + 1, [first])):
            inputs.state[...] = begin
            whole = inputs.in_pieces([end], CHUNKS, history)
            state = inputs.state.copy()
            inputs.state[...] = begin
            pieces = [*cuts, end - sum(cuts)]
            assert np.array_equal(inputs.in_pieces(pieces, CHUNKS, history), whole)
            assert np.array_equal(inputs.state, state)


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[3], WIDE], ids=lambda spec: spec.symbol)
def test_generated_tokens_have_the_bits_of_single_steps(spec: Spec) -> None:
    for history in (0, 5):
        inputs = Inputs(spec, 5, 3)
        begin = inputs.state.copy()
        single = inputs.in_pieces([1] * 5, STEP, history)
        state = inputs.state.copy()
        inputs.state[...] = begin
        assert np.array_equal(inputs.in_pieces([2, 3], STEP, history), single)
        assert np.array_equal(inputs.state, state)
    check(spec, step((2, 1, 4), (3, 0, 70)), STEP)


@pytest.mark.parametrize("history", [0, 5])
def test_states_after_generated_tokens_are_kept_as_of_single_steps(history: int) -> None:
    """In the rows from the checkpoint on, but the last, which is in the sequence's own row."""
    both = replace(step((3, 2), (history, 9)), slots=(0, 1), checkpoints=(2, -1))
    inputs = Inputs(SPECS[0], both.tokens, 6)
    begin = inputs.state.copy()
    together = inputs.run(both, STEP)
    kept = inputs.state.copy()
    inputs.state[...] = begin
    for length in range(3):
        alone = replace(step((1,), (history + length,)), slots=(0,))
        out = inputs.rows(slice(length, length + 1)).run(alone, STEP)
        assert np.array_equal(out, together[length : length + 1])
        assert np.array_equal(inputs.state[0], kept[2 + length if length < 2 else 0])
    assert np.array_equal(kept[4:], begin[4:])


def test_factors_of_tf32_are_cut() -> None:
    """As close as 11 bits allow, all errors towards zero; a step multiplies no matrices."""
    exact_spec = spec_of(Spec, 2, 2, 32, norm=True, rope=True)
    spec = replace(exact_spec, products=Products.TF32)
    batch = step((SEGMENT + CHUNK + 5, 3), (0, 9))
    inputs, plain = (Inputs(each, batch.tokens, 4) for each in (spec, exact_spec))
    expected, states = inputs.expected(batch)
    cut, full = exact(inputs.run(batch)), exact(plain.run(batch))
    largest = np.abs(expected).max()
    assert np.abs(full - expected).max() <= 3e-6 * largest
    assert 2e-4 * largest < np.abs(cut - expected).max() <= 5e-3 * largest
    assert 0.995 < (cut * expected).sum() / (expected * expected).sum() < 0.9997
    for slot in batch.slots:
        error = np.abs(inputs.state[slot] - states[slot]).max()
        assert error <= 3e-3 * np.abs(states[slot]).max()
    check(spec, step((1, 1), (3, 70)), STEP)


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
