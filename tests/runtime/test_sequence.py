"""Sequences of the public interface: pieces, batches, snapshots, cancelling, running out."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.errors import MemoryBudgetError, RequestError
from sala_compile.runtime.generation.generation import GenerationOptions
from sala_compile.runtime.model import Model
from sala_compile.runtime.sequence import TokenSequence
from tests.support.handmade import expected_logits
from tests.support.sequences import assert_unused, text, used

IDS = [3, 5, 8, 1, 9, 2, 28, 0, 11, 13, 1]


@pytest.fixture
def tiny(handmade: Path):
    """The hand-made model: three sequences of up to 64 tokens, pages of 4, chunks of 8."""
    with sala_compile.load(handmade, batch=2, sequences=3, snapshots=2, poison=True) as model:
        yield model


@pytest.fixture(scope="module")
def model(compiled):
    """A compiled model in float32."""
    with sala_compile.load(
        compiled("float32"), context=320, batch=4, chunk=64, poison=True
    ) as loaded:
        yield loaded


class Cancelled(Exception):
    """What a progress callback raises."""


def _cancel_at(count: int):
    def progress(done: int) -> None:
        if done >= count:
            raise Cancelled

    return progress


@pytest.mark.parametrize("cuts", [[70], [64, 128], [100, 101, 102], [90, 150, 152, 249]])
def test_pieces_agree_with_one_piece_where_the_regimes_do(model: Model, cuts: list[int]):
    ids = text(model, 250)
    wanted = model.logits(ids)[-1]
    with model.sequence() as sequence:
        for piece in np.split(ids, cuts):
            logits = sequence.append(piece)
        np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-4)
        assert sequence.token_ids == ids.tolist()
        assert sequence.remaining == 70


def test_dense_pieces_agree_with_one_piece(model: Model):
    ids = text(model, 63)
    with model.sequence() as sequence:
        sequence.append(ids[:30])
        found = sequence.append(ids[30:])
    np.testing.assert_allclose(found, model.logits(ids)[-1], rtol=0, atol=1e-4)
    assert_unused(model)


def test_a_batch_of_unequal_lengths_decodes_to_the_bits_of_each_alone(model: Model):
    texts = [text(model, length, seed=length) for length in (1, 40, 63, 230)]
    alone = []
    for ids in texts:
        with model.sequence() as sequence:
            sequence.append(ids)
            alone.append([sequence.append([token]) for token in (7, 8, 9)])
    sequences = [model.sequence() for _ in texts]
    for sequence, ids in zip(sequences, texts, strict=True):
        sequence.append(ids)
    for step, token in enumerate((7, 8, 9)):
        rows = model.decode(sequences, np.full(4, token))
        np.testing.assert_array_equal(rows, [each[step] for each in alone])
    for sequence in sequences:
        sequence.close()
    assert_unused(model)


def test_logits_are_copies(tiny: Model):
    with tiny.sequence() as sequence:
        first = sequence.append(IDS)
        sequence.append([1])
        np.testing.assert_array_equal(first, expected_logits(IDS)[-1])
        sequence.last_logits[:] = 0
        np.testing.assert_array_equal(sequence.last_logits, expected_logits([*IDS, 1])[-1])


def test_an_empty_sequence_has_no_logits(tiny: Model):
    with tiny.sequence() as sequence, pytest.raises(RequestError, match="were not computed"):
        _ = sequence.last_logits


def test_tokens_and_sequences_must_match(tiny: Model):
    with tiny.sequence() as sequence, pytest.raises(RequestError, match="1 sequences and 2 tok"):
        tiny.decode([sequence], [1, 2])


def test_a_closed_sequence_says_so(tiny: Model):
    with tiny.sequence() as sequence:
        sequence.append(IDS)
    sequence.close()
    for call in (lambda: sequence.append([1]), sequence.fork, sequence.snapshot):
        with pytest.raises(RequestError, match="the sequence is closed"):
            call()
    with pytest.raises(RequestError, match="the sequence is closed"):
        sequence.truncate(0)


def test_a_sequence_may_outlive_its_model(handmade: Path):
    model = sala_compile.load(handmade, poison=True)
    sequence = model.sequence()
    sequence.append(IDS)
    model.close()
    with pytest.raises(RequestError, match="the model is closed"):
        sequence.append([1])
    sequence.close()


def test_truncating_returns_to_snapshots_only(model: Model, compiled):
    ids = text(model, 150)
    with sala_compile.load(
        compiled("float32"), context=320, sequences=2, snapshots=3, poison=True
    ) as model:
        sequence = model.sequence()
        ends = (30, 64, 101)
        for begin, end in zip((0, *ends), ends, strict=False):
            sequence.append(ids[begin:end])
            assert sequence.snapshot() == end
        wanted = sequence.append(ids[101:])
        with pytest.raises(MemoryBudgetError, match="snapshots are needed"):
            sequence.snapshot()
        with pytest.raises(RequestError, match="no snapshot at 70 tokens") as caught:
            sequence.truncate(70)
        assert "64 and 101" in str(caught.value)
        sequence.truncate(150)
        for end in (101, 64, 30):
            sequence.truncate(end)
            assert len(sequence) == end
            assert sequence.token_ids == ids[:end].tolist()
        assert used(model)["snapshots"] == 1
        for begin, end in zip(ends, (*ends[1:], 150), strict=True):
            found = sequence.append(ids[begin:end])
        np.testing.assert_array_equal(found, wanted)
        sequence.truncate(0)
        np.testing.assert_array_equal(sequence.append(ids), model.logits(ids)[-1])
        sequence.close()
        assert_unused(model)


def test_a_snapshot_holds_the_logits(tiny: Model):
    with tiny.sequence() as sequence:
        wanted = sequence.append(IDS)
        sequence.snapshot()
        assert sequence.snapshot() == len(IDS)
        sequence.append([1, 2])
        sequence.truncate(len(IDS))
        np.testing.assert_array_equal(sequence.last_logits, wanted)


def test_a_cancelled_first_call_leaves_an_empty_sequence(tiny: Model):
    with tiny.sequence() as sequence, tiny.sequence() as other:
        other.append(IDS)
        with pytest.raises(Cancelled):
            sequence.append([1] * 40, _cancel_at(16))
        assert len(sequence) == 0
        assert used(tiny)["kv"] == 3
        np.testing.assert_array_equal(sequence.append(IDS), expected_logits(IDS)[-1])
        np.testing.assert_array_equal(other.append([1]), expected_logits([*IDS, 1])[-1])


def test_a_cancelled_call_returns_to_where_it_began_if_a_snapshot_is_free(tiny: Model):
    with tiny.sequence() as sequence:
        sequence.append(IDS)
        with pytest.raises(Cancelled):
            sequence.append([1] * 40, _cancel_at(16))
        assert len(sequence) == len(IDS)
        assert sequence.snapshots() == [0]
        np.testing.assert_array_equal(sequence.append([1]), expected_logits([*IDS, 1])[-1])
    assert_unused(tiny)


def test_a_cancelled_call_returns_to_the_last_snapshot_or_says_that_it_cannot(handmade: Path):
    with sala_compile.load(handmade, sequences=2, snapshots=1, poison=True) as model:
        kept, lost = model.sequence(), model.sequence()
        kept.append(IDS)
        kept.snapshot()
        for sequence in (kept, lost):
            sequence.append([7])
            with pytest.raises(Cancelled):
                sequence.append([1] * 30, _cancel_at(8))
        assert len(kept) == len(IDS)
        np.testing.assert_array_equal(kept.append([1]), expected_logits([*IDS, 1])[-1])
        for call in (lambda: lost.append([1]), lost.fork, lost.snapshot, lambda: lost.token_ids):
            with pytest.raises(RequestError, match="was interrupted and cannot continue") as caught:
                call()
        assert "truncate" in str(caught.value)
        lost.truncate(0)
        np.testing.assert_array_equal(lost.append(IDS), expected_logits(IDS)[-1])


def test_a_sequence_in_a_call_is_left_alone_and_others_may_run(tiny: Model):
    with tiny.sequence() as sequence, tiny.sequence() as other:
        seen: list[str] = []

        def progress(done: int) -> None:
            other.append([done])
            with pytest.raises(RequestError, match="in the middle of a call") as caught:
                sequence.append([1])
            seen.append(caught.value.found)

        found = sequence.append(IDS, progress)
        np.testing.assert_array_equal(found, expected_logits(IDS)[-1])
        assert len(seen) == len(other) == 2


def _append_while(thread: threading.Thread, sequence: TokenSequence, ids: list[int]) -> None:
    thread.start()
    sequence.append(ids)
    thread.join()
    time.sleep(1)


def test_ctrl_c_at_any_time_leaks_nothing(handmade: Path):
    """Interrupts at random times: the sequence is where it was or where it should be, whole."""
    ids, waits = [1] * 40, np.random.default_rng(0).uniform(0, 0.004, 60)

    def interrupt(wait: float) -> None:
        time.sleep(wait)
        os.kill(os.getpid(), signal.SIGINT)

    with sala_compile.load(handmade, chunk=1, sequences=2, snapshots=1, poison=True) as model:
        for wait in waits:
            sequence = model.sequence()
            sequence.append(IDS)
            thread = threading.Thread(target=interrupt, args=(wait,))
            with pytest.raises(KeyboardInterrupt):
                _append_while(thread, sequence, ids)
            thread.join()
            assert len(sequence) in (len(IDS), len(IDS) + len(ids))
            text = sequence.token_ids
            np.testing.assert_array_equal(sequence.append([2]), expected_logits([*text, 2])[-1])
            sequence.close()
            assert_unused(model)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_closed_generator_gives_everything_back(tiny: Model):
    with tiny.sequence() as other:
        other.append(IDS)
        with tiny.generation(IDS, GenerationOptions(ignore_eos=True)) as answer:
            tokens = answer.tokens()
            next(tokens)
            next(tokens)
            tokens.close()
        np.testing.assert_array_equal(other.append([1]), expected_logits([*IDS, 1])[-1])
    assert_unused(tiny)


def test_running_out_of_pages_leaves_every_sequence_whole(tiny: Model):
    """34 pages of 4 tokens."""
    one, two, three = (tiny.sequence() for _ in range(3))
    one.append([1] * 64)
    two.append([2] * 60)
    three.append([3] * 8)
    with pytest.raises(MemoryBudgetError, match="KV pages are needed"):
        three.append([3] * 8)
    assert len(three) == 8
    one.truncate(0)
    np.testing.assert_array_equal(three.append([3] * 8), expected_logits([3] * 16, 16)[-1])
    np.testing.assert_array_equal(two.append([5]), expected_logits([2] * 60 + [5])[-1])


def test_a_batch_for_which_pages_are_missing_changes_none_of_its_sequences(handmade: Path):
    with sala_compile.load(handmade, batch=2, sequences=3, poison=True) as model:
        one, two, three = (model.sequence() for _ in range(3))
        one.append([1] * 60)
        two.append([2] * 64)
        three.append([3] * 4)
        with pytest.raises(MemoryBudgetError, match="KV pages"):
            model.decode([one, three], [5, 5])
        assert (len(one), len(three), used(model)["kv"]) == (60, 4, 32)
        two.close()
        rows = model.decode([one, three], [5, 5])
        np.testing.assert_array_equal(rows[0], expected_logits([1] * 60 + [5])[-1])
        np.testing.assert_array_equal(rows[1], expected_logits([3] * 4 + [5])[-1])
