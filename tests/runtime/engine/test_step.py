"""One step for many callers: resumable calls, admission, failures that stay with their caller."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.devices.draw import Draw
from sala_compile.runtime.engine.admission import Demand
from sala_compile.runtime.engine.append import Append
from sala_compile.runtime.engine.chunk import SequenceChunk
from sala_compile.runtime.engine.logit_check import NotANumberError
from sala_compile.runtime.errors import MemoryBudgetError, RequestError
from sala_compile.runtime.model import Model
from tests.support.handmade import VOCABULARY, expected_logits
from tests.support.sequences import assert_unused, chunk, spoiled

IDS = [3, 5, 8, 1, 9, 2, 28, 0, 11, 13, 1]
GREEDY = Draw(0.0, 1.0, 0, 0.0)


@pytest.fixture
def model(handmade: Path) -> Iterator[Model]:
    """Three sequences of up to 64 tokens, in 24 pages of 4; 8 tokens and 3 sequences a step."""
    options = {"batch": 3, "sequences": 4, "context": 64, "poison": True}
    with sala_compile.load(handmade, **options) as loaded:
        yield loaded


def _run(model: Model, call: Append, limit: int | None = None) -> list[int]:
    """Carry a call out with a limit for its chunks; their lengths."""
    lengths: list[int] = []
    with call:
        while not call.finished:
            part = call.next_chunk(limit)
            assert part is not None
            lengths.append(len(part))
            call.done(model.engine.step([part])[0])
    return lengths


@pytest.mark.parametrize(
    ("begin", "limit", "lengths"),
    [
        (0, None, [8, 3]),
        (0, 7, [4, 7]),
        (0, 4, [4, 4, 3]),
        (1, None, [7, 4]),
        (1, 4, [3, 4, 4]),
        (3, 5, [5, 4, 2]),
    ],
)
def test_chunks_end_at_absolute_multiples(
    model: Model, begin: int, limit: int | None, lengths: list[int]
):
    """Of 4 tokens, but for the last chunk, which ends with the call."""
    with model.sequence() as sequence:
        if begin:
            sequence.append([1] * begin)
        call = model.engine.append(sequence.state, IDS)
        assert call.left == len(IDS)
        assert _run(model, call, limit) == lengths
        assert call.appended == len(IDS)
        assert call.result.logits is not None
        np.testing.assert_array_equal(call.result.logits[0], expected_logits([1] * begin + IDS)[-1])


def test_a_limit_that_reaches_no_place_to_cut_gives_no_chunk(model: Model):
    with model.sequence() as sequence:
        call = model.engine.append(sequence.state, IDS)
        assert [call.next_chunk(limit) for limit in (0, 1, 3)] == [None] * 3
        whole = call.next_chunk(4)
        assert whole is not None
        assert len(whole) == 4
        call.close()
        with model.engine.append(sequence.state, IDS[:3]) as short:
            end = short.next_chunk(3)
            assert end is not None, "the end of a call needs no multiple"


def test_a_chunk_is_run_once_and_in_its_turn(model: Model):
    with model.sequence() as sequence, model.engine.append(sequence.state, IDS) as call:
        old = call.next_chunk(4)
        new = call.next_chunk()
        assert old is not None
        assert new is not None
        for stale, fine in ((old, new), (new, None)):
            [result] = model.engine.step([stale])
            assert isinstance(result.error, RequestError)
            if fine is not None:
                call.done(model.engine.step([fine])[0])
        last = call.next_chunk()
        assert last is not None
        call.done(model.engine.step([last])[0])
        assert call.finished


def test_a_call_that_is_left_returns_to_its_begin(handmade: Path):
    with (
        sala_compile.load(handmade, snapshots=1) as model,
        model.sequence() as sequence,
    ):
        sequence.append([1, 2])
        before = sequence.last_logits
        call = model.engine.append(sequence.state, IDS)
        part = call.next_chunk()
        assert part is not None
        call.done(model.engine.step([part])[0])
        for refused in (
            lambda: sequence.append([1]),
            lambda: sequence.truncate(0),
            lambda: sequence.fork(),
            lambda: model.engine.append(sequence.state, [1]),
            lambda: model.decode([sequence], [1]),
        ):
            with pytest.raises(RequestError, match="in the middle of a call"):
                refused()
        call.close()
        call.close()
        assert sequence.token_ids == [1, 2]
        np.testing.assert_array_equal(sequence.last_logits, before)
        assert model.info()["snapshots"]["used"] == 0


def test_room_is_known_before_anything_changes(model: Model):
    """48 pages of 4 tokens for three sequences of 64; the fourth finds what they leave."""
    admission = model.engine.admission
    demand = admission.call(None, 62)
    assert demand.rows["KV pages"] == 16
    assert admission.refusal(demand + demand + demand) is None
    four = sum([demand] * 4, Demand())
    assert isinstance(admission.refusal(four), MemoryBudgetError)
    sequences = [model.sequence() for _ in range(4)]
    assert isinstance(admission.refusal(admission.call(None, 1)), MemoryBudgetError)
    for sequence in sequences[:3]:
        sequence.append([1] * 64)
    refusal = admission.refusal(admission.call(sequences[3].state, 1))
    assert isinstance(refusal, MemoryBudgetError)
    with pytest.raises(MemoryBudgetError, match="KV pages"):
        model.engine.append(sequences[3].state, [1])
    assert sequences[3].state.call is None
    sequences[0].close()
    assert admission.refusal(admission.call(sequences[3].state, 64)) is None


def test_a_step_is_as_large_as_was_loaded_for(model: Model):
    sequences = [model.sequence() for _ in range(4)]
    wide = [chunk(each, [1]) for each in sequences]
    for chunks in (wide, [chunk(sequences[0], [1] * 9)], []):
        with pytest.raises(RequestError, match="a step of"):
            model.engine.step(chunks)
    admission = model.engine.admission
    assert isinstance(admission.refusal(admission.step(wide)), RequestError)
    assert admission.refusal(admission.step(wide[:3])) is None


def test_what_the_prefix_cache_holds_counts_as_free(handmade: Path):
    options = {"batch": 1, "sequences": 2, "prefix_cache": 2000, "snapshot_every": 8}
    with sala_compile.load(handmade, poison=True, **options) as model:
        admission, store = model.engine.admission, model.engine.store
        rng = np.random.default_rng(0)
        for _ in range(6):
            with model.sequence() as sequence:
                sequence.append(rng.integers(0, VOCABULARY, 60))
        assert store.pool("KV pages").free < 16
        with model.sequence() as one, model.sequence() as two:
            demand = admission.call(one.state, 64)
            assert admission.refusal(demand) is None
            one.append([5] * 64)
            left = store.pool("KV pages").available
            assert admission.refusal(admission.call(two.state, left * 4)) is None
            assert admission.refusal(admission.call(two.state, left * 4 + 1)) is not None
            model.engine.append(two.state, [6] * left * 4).close()


def test_a_mistake_fails_alone(model: Model):
    good, wrong, busy = (model.sequence() for _ in range(3))
    ids = np.array([1, 2], np.int32)
    state = wrong.state
    call = model.engine.append(busy.state, IDS)
    first = call.next_chunk(4)
    assert first is not None
    mistakes = [
        SequenceChunk(state, np.array([VOCABULARY], np.int32), 1),
        SequenceChunk(state, np.zeros(0, np.int32), 0),
        SequenceChunk(state, ids, 1),
        SequenceChunk(state, ids, 3, generated=True),
        SequenceChunk(state, ids, 2, rows=(2,)),
        SequenceChunk(state, ids, 2, rows=(1, 0)),
        SequenceChunk(state, ids, 2, rows=(0,), draws=(GREEDY,)),
        SequenceChunk(state, ids, 2, call=call),
        SequenceChunk(good.state, ids, 2),
        SequenceChunk.decode(state, 1.5),  # type: ignore[arg-type]
        SequenceChunk.decode(state, 1 << 70),
    ]
    text: list[int] = []
    for mistake in mistakes:
        text.append(4)
        found = model.engine.step([SequenceChunk.decode(good.state, 4), mistake])
        assert isinstance(found[1].error, RequestError)
        assert found[0].error is None
        assert found[0].logits is not None
        np.testing.assert_array_equal(found[0].logits[0], expected_logits(text)[-1])
        assert (len(good), len(wrong)) == (len(text), 0)
    with pytest.raises(RequestError):
        model.engine.step([SequenceChunk.decode(good.state, 4), mistakes[0]], all_or_none=True)
    assert good.token_ids == text
    call.close()
    wrong.close()
    [closed] = model.engine.step([SequenceChunk.decode(state, 1)])
    assert isinstance(closed.error, RequestError)
    good.close()
    busy.close()
    assert_unused(model)


def test_a_lack_of_pages_and_a_nan_fail_alone(model: Model):
    one, two, three, other = (model.sequence() for _ in range(4))
    for each in (one, two):
        each.append([1] * 64)
    three.append([2] * 53)
    other.append([3] * 8)
    found = model.engine.step([chunk(three, [4]), chunk(other, [5])])
    assert isinstance(found[1].error, MemoryBudgetError)
    assert found[0].error is None
    assert (len(three), len(other)) == (54, 8)
    two.close()
    with spoiled(model, 1):
        found = model.engine.step([chunk(three, [4]), chunk(other, [5, 6], rows=(0, 1))])
    assert found[0].error is None
    assert isinstance(found[1].error, NotANumberError)
    assert "token 8" in str(found[1].error)
    assert other.token_ids == [3] * 8 + [5, 6]


def test_logits_are_computed_for_the_rows_that_are_wanted(model: Model):
    """A chunk in the middle of a prompt costs no head."""
    with model.sequence() as one, model.sequence() as two:
        program = model.engine.stepper.program
        rows: list[int] = []
        run = program.run

        def counted(phase, sizes, hooks=None):
            if phase.value == "logits":
                rows.append(sizes.logit_rows)
            run(phase, sizes, hooks)

        program.run = counted  # type: ignore[method-assign]
        call = model.engine.append(one.state, IDS)
        part = call.next_chunk(4)
        assert part is not None
        found = model.engine.step([part, chunk(two, [7, 8, 9], rows=(0, 2))])
        assert found[0].logits is None
        assert found[1].logits is not None
        np.testing.assert_array_equal(found[1].logits, expected_logits([7, 8, 9])[::2])
        assert rows == [2]
        rows.clear()
        part = call.next_chunk(4)
        assert part is not None
        model.engine.step([part])
        assert rows == []
        call.close()


def test_tokens_to_verify_are_steps_of_one_token_each(model: Model):
    with model.sequence() as one, model.sequence() as two:
        one.append(IDS)
        two.append(IDS)
        wanted = np.concatenate([model.decode([one], [token]) for token in (7, 8, 9)])
        ids = np.array([7, 8, 9], np.int32)
        verify = SequenceChunk(two.state, ids, len(IDS) + 3, generated=True, rows=range(3))
        [found] = model.engine.step([verify])
        assert found.logits is not None
        np.testing.assert_array_equal(found.logits, wanted)
        np.testing.assert_array_equal(two.last_logits, wanted[-1])
