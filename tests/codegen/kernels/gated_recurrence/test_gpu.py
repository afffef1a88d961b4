"""Gated recurrences' GPU kernels, interpreted, against the float64 reference."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sala_compile.codegen.kernels.gated_recurrence.gpu.kernel import FAMILY
from sala_compile.codegen.kernels.gated_recurrence.gpu.spec import Schedule, Spec
from sala_compile.codegen.kernels.gated_recurrence.spec import CHUNK
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.triton.phase import TokenForm
from sala_compile.codegen.kernels.triton.products import Products
from sala_compile.codegen.targets.cuda import CudaTarget
from tests.support.interpreted import run
from tests.support.recurrence import RecurrenceInputs, delta_of, sum_of
from tests.support.rows import exact
from tests.support.steps import EXTRA, Step, padded, poisoned, step

TARGET = CudaTarget(90)
PART = 32
CHUNKS = Schedule(PART, 16, 16)
"""Chunks of 32: cut at multiples of 64 too, and quicker to interpret."""
STEP = Schedule(1, 16, 0)
SPECS: tuple[Spec, ...] = (
    delta_of(3, 3, 10, 18, rate_scale=2.0, kind=Spec),
    delta_of(4, 2, 16, 32, kind=Spec),
    replace(delta_of(2, 1, 30, 7, kind=Spec), out_element=Element.BF16),
    delta_of(2, 2, 1, 1, kind=Spec),
    sum_of(6, 2, 20, 16, kind=Spec),
    sum_of(2, 2, 7, 33, least=0.5, most=2.0, kind=Spec),
    delta_of(3, 3, 10, 18, channel_decay=True, kind=Spec),
    delta_of(4, 2, 33, 20, rate_scale=2.0, channel_decay=True, lower_bound=-5.0, kind=Spec),
    delta_of(2, 2, 2, 1, channel_decay=True, kind=Spec),
)
FEW = (SPECS[0], SPECS[4], SPECS[6])

every_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
few_specs = pytest.mark.parametrize("spec", FEW, ids=lambda spec: spec.symbol)


class Inputs(RecurrenceInputs):
    """Inputs that the kernel runs on."""

    def run(self, batch: Step, schedule: Schedule = CHUNKS, **options: Any) -> np.ndarray:
        """The kernel's output; the state changes in place."""
        form = TokenForm.STEP if schedule.chunk == 1 else TokenForm.CHUNKS
        spec: Any = replace(self.spec, form=form)
        kernel = FAMILY.build(spec, TARGET, schedule)
        bucket = {"tokens": batch.tokens + EXTRA, "sequences": len(batch.counts) + 2}
        used = spec.num_heads * spec.value_dim
        out = poisoned(batch.tokens + EXTRA, padded(used), dtype=spec.out_element.dtype)
        before = out.copy()
        declared = FAMILY.arguments(spec, schedule)
        buffers = batch.fields(declared) | {"state": self.state, "out": out}
        buffers |= dict.fromkeys(self.columns, self.merged) | self.named_weights
        for each in declared:
            if each.present and each.workspace is not None:
                space = each.workspace
                size = space.elements_per_token * bucket["tokens"]
                size += space.elements_per_sequence * bucket["sequences"]
                buffers[each.name] = poisoned(1, size)
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
            now = replace(step((count,), (history + first,)), slots=(0,))
            outs.append(self.rows(slice(first, first + count)).run(now, schedule))
            first += count
        return np.concatenate(outs)


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    """Equal to a few roundings of the largest value."""
    bound = 5e-3 if found.dtype == np.uint16 else 3e-6
    return bool(np.abs(exact(found) - expected).max() <= bound * np.abs(expected).max())


def check(spec: Spec, batch: Step, schedule: Schedule, **options: Any) -> None:
    """Outputs and states are the reference's; the states of other slots stay as they are."""
    slots = len(batch.counts) + 2
    inputs = Inputs(spec, batch.tokens, slots)
    for slot, past in zip(batch.slots, batch.history, strict=True):
        if past == 0:
            inputs.state[slot] = np.nan
    before = inputs.state.copy()
    out, states = inputs.expected(batch)
    assert close(inputs.run(batch, schedule, **options), out)
    for index, slot in enumerate(batch.slots):
        if batch.counts[index]:
            assert close(inputs.state[slot], states[slot])
        before[slot] = inputs.state[slot] if batch.counts[index] else before[slot]
    assert np.array_equal(inputs.state, before, equal_nan=True)


@every_spec
def test_chunks_equal_the_reference(spec: Spec) -> None:
    batch = step((1, PART + 17, 0, PART, 2), (3, 0, 7, 9, PART - 1))
    check(spec, batch, CHUNKS, backwards=spec.channel_decay)


@few_specs
def test_chunks_of_64_equal_the_reference(spec: Spec) -> None:
    check(spec, step((CHUNK + 3, 40), (0, 5)), replace(CHUNKS, chunk=CHUNK))


@every_spec
def test_a_step_equals_the_reference(spec: Spec) -> None:
    check(spec, step((1, 3, 0, 1), (3, 0, 7, 70)), STEP, backwards=spec.channel_decay)


@few_specs
def test_reading_cut_at_multiples_of_64_gives_the_same_bits(spec: Spec) -> None:
    """After any history, whatever the number of tokens between two cuts, one included."""
    for history in (0, 37):
        first = -history % CHUNK or CHUNK
        inputs = Inputs(spec, first + CHUNK + 5, 3)
        begin = inputs.state.copy()
        for pieces in ((first, CHUNK + 5), (first, CHUNK, 1)):
            inputs.state[...] = begin
            whole = inputs.in_pieces((sum(pieces),), CHUNKS, history)
            state = inputs.state.copy()
            inputs.state[...] = begin
            assert np.array_equal(inputs.in_pieces(pieces, CHUNKS, history), whole)
            assert np.array_equal(inputs.state, state)


@few_specs
def test_generated_tokens_have_the_bits_of_single_steps(spec: Spec) -> None:
    for history in (0, 5):
        inputs = Inputs(spec, 5, 3)
        begin = inputs.state.copy()
        single = inputs.in_pieces([1] * 5, STEP, history)
        state = inputs.state.copy()
        for pieces in ((5,), (2, 3)):
            inputs.state[...] = begin
            assert np.array_equal(inputs.in_pieces(pieces, STEP, history), single)
            assert np.array_equal(inputs.state, state)


@pytest.mark.parametrize("history", [0, 5])
@few_specs
def test_states_after_generated_tokens_are_kept_as_of_single_steps(
    spec: Spec, history: int
) -> None:
    """In the rows from the checkpoint on, but the last, which is in the sequence's own row."""
    both = replace(step((3, 2), (history, 9)), slots=(0, 1), checkpoints=(2, -1))
    inputs = Inputs(spec, both.tokens, 6)
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


@pytest.mark.parametrize("schedule", [CHUNKS, STEP], ids=["chunks", "step"])
@few_specs
def test_a_sequence_is_bit_equal_alone_and_in_a_batch(spec: Spec, schedule: Schedule) -> None:
    counts = (1, 2, 1) if schedule is STEP else (3, PART + 6, 1)
    batch = step(counts, (7, 2, 0))
    inputs = Inputs(spec, batch.tokens, 5)
    before = inputs.state.copy()
    together = inputs.run(batch, schedule)
    state = inputs.state.copy()
    for index, slot in enumerate(batch.slots):
        rows = slice(batch.offsets[index], batch.offsets[index + 1])
        alone = step(batch.counts[index : index + 1], batch.history[index : index + 1])
        inputs.state[...] = before
        found = inputs.rows(rows).run(replace(alone, slots=(slot,)), schedule)
        assert np.array_equal(found, together[rows])
        assert np.array_equal(inputs.state[slot], state[slot])


def test_steps_continue_what_chunks_began() -> None:
    for spec in FEW:
        inputs = Inputs(spec, PART + 12, 3)
        out, states = inputs.expected(replace(step((PART + 12,)), slots=(0,)))
        parts, done = [], 0
        for count, schedule in ((PART + 1, CHUNKS), (8, CHUNKS), (1, STEP), (2, STEP)):
            now = replace(step((count,), (done,)), slots=(0,))
            parts.append(inputs.rows(slice(done, done + count)).run(now, schedule))
            done += count
        assert close(np.concatenate(parts), out)
        assert close(inputs.state[0], states[0])


@few_specs
def test_a_token_that_forgets_everything_costs_no_digit_of_those_after_it(spec: Spec) -> None:
    batch = replace(step((PART,)), slots=(0,))
    inputs = Inputs(spec, PART, 3)
    inputs.merged[5, spec.decay_start : spec.decay_start + spec.num_heads * spec.decays] = 3e4
    out, states = inputs.expected(batch)
    found = inputs.run(batch)
    assert close(found[7:], out[7:])
    assert close(inputs.state[0], states[0])


def test_products_of_three_are_as_close() -> None:
    """Where the compiled code is executed it multiplies with TF32, three times."""
    spec = replace(SPECS[1], products=Products.TF32X3)
    check(spec, step((PART + 3, 2), (0, 9)), replace(CHUNKS, part=32))


def test_nothing_to_do_touches_nothing() -> None:
    inputs = Inputs(SPECS[0], 1, 3)
    before = inputs.state.copy()
    none = replace(step((1,), (2,)), counts=(), history=(), slots=(), call_lengths=())
    for schedule in (CHUNKS, STEP):
        inputs.run(none, schedule)
    assert np.array_equal(inputs.state, before)
