"""Gated recurrences against the float64 reference."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from sala_compile.codegen.kernels.gated_recurrence.cpu.kernel import FAMILY
from sala_compile.codegen.kernels.gated_recurrence.cpu.schedule import Places
from sala_compile.codegen.kernels.gated_recurrence.spec import CHUNK, Spec
from sala_compile.codegen.targets.cpu import CpuTarget
from tests.support.recurrence import RecurrenceInputs, delta_of, sum_of
from tests.support.steps import EXTRA, Library, Step, padded, poisoned, step

FIELDS = ("control", "offsets", "history", "generated", "slots", "checkpoints")
HOST = CpuTarget.host()
PORTABLE = CpuTarget("x86-64-v3")
SPECS = (
    delta_of(3, 3, 10, 18, rate_scale=2.0),
    delta_of(4, 2, 16, 32),
    delta_of(2, 1, 30, 7),
    delta_of(5, 5, 1, 1),
    delta_of(2, 2, 64, 64),
    delta_of(1, 1, 128, 128),
    delta_of(3, 1, 82, 50, rate_scale=2.0),
    sum_of(6, 2, 20, 16),
    sum_of(3, 1, 128, 64, least=0.5, most=2.0),
    sum_of(2, 2, 7, 33),
    delta_of(3, 3, 10, 18, channel_decay=True),
    delta_of(2, 2, 64, 64, channel_decay=True, lower_bound=-5.0),
    delta_of(4, 2, 33, 40, rate_scale=2.0, channel_decay=True),
    delta_of(1, 1, 128, 128, channel_decay=True, lower_bound=-5.0),
    delta_of(2, 2, 2, 1, channel_decay=True),
)
CHANNELS = SPECS[10:]
PORTABLE_SPECS = (SPECS[0], SPECS[4], SPECS[7], CHANNELS[1])


@cache
def library(target: CpuTarget) -> Library:
    """The kernels of all specs for a target."""
    specs = SPECS if target == HOST else PORTABLE_SPECS
    return Library([FAMILY.build(spec, target) for spec in specs], target)


class Inputs(RecurrenceInputs):
    """Inputs that the kernel runs on."""

    def run(self, batch: Step, target: CpuTarget) -> np.ndarray:
        """The kernel's output; the state changes in place."""
        spec = self.spec
        used = spec.num_heads * spec.value_dim
        out = poisoned(batch.tokens + EXTRA, padded(used))
        schedule = FAMILY.default_schedule(spec, target)
        chunk = poisoned(batch.workers, Places.of(spec, schedule).size)
        fields = [batch.field(name) for name in FIELDS]
        inputs = [self.merged] * len(self.columns) + [self.state, *self.weights]
        library(target).call(spec.symbol, *fields, *inputs, out, chunk)
        assert np.isnan(out[batch.tokens :]).all()
        assert (out[: batch.tokens, used:] == 0).all()
        return out[: batch.tokens, :used]

    def in_pieces(
        self,
        pieces: Sequence[int],
        target: CpuTarget,
        history: int = 0,
        *,
        generated: bool = False,
    ) -> np.ndarray:
        """The outputs of a sequence in slot 0, so many tokens in each step."""
        outs: list[np.ndarray] = []
        first = 0
        for count in pieces:
            now = step((count,), (history + first,), generated=(generated,))
            rows = self.rows(slice(first, first + count))
            outs.append(rows.run(replace(now, slots=(0,)), target))
            first += count
        return np.concatenate(outs)


def close(actual: np.ndarray, expected: np.ndarray) -> bool:
    """Equal to a few float32 roundings of the largest value."""
    return bool(np.abs(actual - expected).max() <= 3e-6 * np.abs(expected).max())


BATCHES = (
    ((1, CHUNK + 6, CHUNK, 2), (0, 0, 5, 9), (False, False, False, True)),
    ((1, CHUNK - 1, CHUNK + 1, 2 * CHUNK), (3, 0, 5, CHUNK - 1), (True, False, False, False)),
)


@pytest.mark.parametrize(
    ("spec", "target"),
    [(spec, HOST) for spec in SPECS] + [(spec, PORTABLE) for spec in PORTABLE_SPECS],
    ids=lambda x: x.symbol if isinstance(x, Spec) else x.name,
)
@pytest.mark.parametrize(("counts", "history", "generated"), BATCHES, ids=("short", "long"))
def test_equals_reference(
    spec: Spec,
    target: CpuTarget,
    counts: tuple[int, ...],
    history: tuple[int, ...],
    generated: tuple[bool, ...],
) -> None:
    batch = step(counts, history, generated=generated)
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


@pytest.mark.parametrize("spec", [*SPECS[:2], SPECS[7], *CHANNELS], ids=lambda spec: spec.symbol)
def test_a_sequence_is_bit_equal_alone_and_in_a_batch(spec: Spec) -> None:
    batch = step((1, 70, 3, 64, 2), (7, 2, 0, 5, 63), generated=(True, False, True, False, False))
    inputs = Inputs(spec, batch.tokens, 7)
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
            generated=batch.generated[index : index + 1],
            workers=1,
        )
        inputs.state[...] = before
        assert np.array_equal(inputs.rows(rows).run(alone, HOST), together[rows])
        assert np.array_equal(inputs.state[slot], state[slot])


@pytest.mark.parametrize("pieces", [(1,) * 9, (8, 1), (3, 6), (1, 8)], ids=str)
def test_continues_from_any_split(pieces: tuple[int, ...]) -> None:
    spec = SPECS[2]
    inputs = Inputs(spec, CHUNK + 9, 3)
    out, states = inputs.expected(replace(step((CHUNK + 9,)), slots=(0,)))
    found = inputs.in_pieces((CHUNK, *pieces), HOST)
    assert close(found, out)
    assert close(inputs.state[0], states[0])


@pytest.mark.parametrize("history", [0, 5])
@pytest.mark.parametrize("spec", [*SPECS[:3], SPECS[7]], ids=lambda spec: spec.symbol)
def test_states_after_generated_tokens_are_kept_as_of_single_steps(spec: Spec, history: int):
    """In the rows from the checkpoint on, but the last, which is in the sequence's own row."""
    both = step((4, 3), (history, 9), generated=(True, True))
    both = replace(both, slots=(0, 1), checkpoints=(2, -1))
    inputs = Inputs(spec, both.tokens, 7)
    begin = inputs.state.copy()
    together = inputs.run(both, HOST)
    kept = inputs.state.copy()
    inputs.state[...] = begin
    for length in range(4):
        alone = replace(step((1,), (history + length,), generated=(True,)), slots=(0,))
        out = inputs.rows(slice(length, length + 1)).run(alone, HOST)
        assert np.array_equal(out, together[length : length + 1])
        assert np.array_equal(inputs.state[0], kept[2 + length if length < 3 else 0])
    assert np.array_equal(kept[5:], begin[5:], equal_nan=True)


TARGETS = pytest.mark.parametrize("target", [HOST, PORTABLE], ids=lambda target: target.name)


@TARGETS
@pytest.mark.parametrize("spec", PORTABLE_SPECS, ids=lambda spec: spec.symbol)
def test_reading_cut_at_multiples_of_a_chunk_gives_the_same_bits(
    spec: Spec, target: CpuTarget
) -> None:
    """After any history, whatever the number of tokens between two cuts, one included."""
    random = np.random.default_rng(3)
    for history in (0, 1, 37, CHUNK - 1, CHUNK, 5 * CHUNK + 50):
        count = int(random.integers(2 * CHUNK, 5 * CHUNK))
        inputs = Inputs(spec, count + 1, 3)
        begin = inputs.state.copy()
        first = -history % CHUNK
        multiples = np.arange(first if first else CHUNK, count, CHUNK)
        for cuts in (multiples[-1:], random.permutation(multiples)[:2], multiples):
            for end in (count, int(multiples[-1]) + 1):
                pieces = np.diff([0, *sorted(cuts), end]).tolist()
                inputs.state[...] = begin
                whole = inputs.in_pieces((end,), target, history)
                state = inputs.state.copy()
                inputs.state[...] = begin
                assert np.array_equal(inputs.in_pieces(pieces, target, history), whole)
                assert np.array_equal(inputs.state, state)


@TARGETS
@pytest.mark.parametrize("spec", PORTABLE_SPECS, ids=lambda spec: spec.symbol)
def test_generated_tokens_have_the_bits_of_single_steps(spec: Spec, target: CpuTarget) -> None:
    for history in (0, 1, CHUNK - 2):
        inputs = Inputs(spec, 9, 3)
        begin = inputs.state.copy()
        single = inputs.in_pieces((1,) * 9, target, history, generated=True)
        state = inputs.state.copy()
        for pieces in ((9,), (4, 5), (1, 7, 1)):
            inputs.state[...] = begin
            together = inputs.in_pieces(pieces, target, history, generated=True)
            assert np.array_equal(together, single)
            assert np.array_equal(inputs.state, state)


def test_one_token_that_is_read_is_a_chunk() -> None:
    """So that a remainder of one has the bits that it has with the tokens after it."""
    spec = SPECS[4]
    inputs = Inputs(spec, 1, 3)
    begin = inputs.state.copy()
    read = inputs.in_pieces((1,), HOST, CHUNK)
    inputs.state[...] = begin
    generated = inputs.in_pieces((1,), HOST, CHUNK, generated=True)
    assert close(read, generated)
    assert not np.array_equal(read, generated)
