"""A sequence that becomes one text after another: what is read, and that nothing else changes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sala_compile
from sala_compile.runtime.cli.reuse import SNAPSHOTS, ReusedSequence, common_length
from sala_compile.runtime.generation.generation import GenerationOptions
from sala_compile.runtime.model import Model
from tests.runtime.conftest import Compiled
from tests.support.emulated_gpu import emulated_gpu
from tests.support.handmade import expected_logits

TEXT = list(range(1, 25))


@pytest.fixture
def model(handmade: Path) -> Iterator[Model]:
    with sala_compile.load(handmade, threads=1, snapshots=SNAPSHOTS) as loaded:
        yield loaded


def _become(held: ReusedSequence, ids: list[int], **places: int) -> int:
    """Make the sequence a whole text; how many tokens were held already."""
    rest = held.begin(ids, **places)
    if rest:
        held.sequence.append(rest)
    assert held.sequence.token_ids == ids
    return held.reused


def test_what_is_the_same_is_not_read_again(model: Model):
    with model.sequence() as sequence:
        held = ReusedSequence(sequence)
        assert _become(held, TEXT[:10], boundary=8) == 0
        assert _become(held, TEXT[:15], boundary=13) == 10  # the text goes on
        assert _become(held, [*TEXT[:13], 28, 28], boundary=14) == 13  # from the boundary
        assert _become(held, [*TEXT[:12], 28], boundary=12) == 0  # before it: from the beginning
        assert _become(held, [*TEXT[:12], 28], boundary=12) == 12  # the same once more
        assert _become(held, TEXT[:5]) == 0
        assert model.info()["snapshots"]["used"] == 0


def test_snapshots_are_given_back(model: Model):
    with model.sequence() as sequence:
        held = ReusedSequence(sequence)
        for length in range(2, 25, 2):
            _become(held, TEXT[:length], boundary=length - 1)
            assert model.info()["snapshots"]["used"] == 1
    assert model.info()["snapshots"]["used"] == 0


def test_a_shared_opening_is_kept(model: Model, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sala_compile.runtime.cli.reuse._WORTH_KEEPING", 4)
    with model.sequence() as sequence:
        held = ReusedSequence(sequence)
        _become(held, TEXT[:12], opening=5, boundary=11)
        assert sequence.snapshots() == [0, 5, 11]
        assert _become(held, [*TEXT[:5], 20, 21, 22], opening=5, boundary=7) == 5
        assert sequence.snapshots() == [0, 5, 7]


def test_a_boundary_at_the_end_leaves_nothing_to_read(model: Model):
    with model.sequence() as sequence:
        held = ReusedSequence(sequence)
        assert held.begin(TEXT[:9], boundary=9) == []
        with model.generation([], GenerationOptions(max_new_tokens=3), sequence=sequence) as answer:
            tokens = list(answer.tokens())
        held.answered(answer.token_ids)
        assert _become(held, [*TEXT[:9], tokens[0], tokens[1], 7]) == 11
        assert _become(held, [*TEXT[:9], 28]) == 9


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(
        st.tuples(
            st.integers(0, 20),
            st.lists(st.integers(0, 28), min_size=1, max_size=20),
            st.integers(0, 45),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_logits_are_those_of_the_text_read_anew(handmade: Path, texts: list):
    with (
        sala_compile.load(handmade, threads=1, snapshots=SNAPSHOTS) as model,
        model.sequence() as sequence,
    ):
        held, ids = ReusedSequence(sequence), []
        for kept, more, boundary in texts:
            ids = [*ids[:kept], *more]
            _become(held, ids, boundary=boundary)
            np.testing.assert_array_equal(sequence.last_logits, expected_logits(ids)[-1])


def test_a_compiled_model_computes_what_it_reads_anew(compiled: Compiled):
    ids = np.random.default_rng(0).integers(0, 64, 90).tolist()
    with (
        sala_compile.load(compiled("float32"), batch=1, sequences=2, snapshots=SNAPSHOTS) as model,
        model.sequence() as sequence,
    ):
        held = ReusedSequence(sequence)
        _become(held, ids[:50], boundary=45)
        _become(held, [*ids[:48], *ids[60:70]], boundary=50)
        assert held.reused == 45
        _become(held, [*ids[:48], *ids[60:75]], boundary=62)
        assert held.reused == 58
        with model.sequence() as fresh:
            fresh.append([*ids[:48], *ids[60:75]])
            np.testing.assert_allclose(sequence.last_logits, fresh.last_logits, atol=1e-4)


def test_a_device_that_ran_ahead_holds_what_was_taken(handmade_gpu: Path):
    options = GenerationOptions(max_new_tokens=8, ignore_eos=True)
    with (
        emulated_gpu(),
        sala_compile.load(handmade_gpu, device="cuda", snapshots=SNAPSHOTS) as model,
        model.sequence() as sequence,
    ):
        held = ReusedSequence(sequence)
        rest = held.begin(TEXT[:9], boundary=7)
        with model.generation(rest, options, sequence=sequence, ahead=True) as answer:
            tokens = answer.tokens()
            first = [next(tokens) for _ in range(3)]
            tokens.close()
        held.answered(answer.token_ids)
        assert sequence.token_ids == [*TEXT[:9], *first]
        assert _become(held, [*TEXT[:9], *first, 5]) == 12


def test_a_cancelled_reading_goes_on_where_it_can(model: Model):
    with model.sequence() as sequence:
        held = ReusedSequence(sequence)
        _become(held, TEXT[:9], boundary=7)

        def cancel(done: int) -> None:
            if done > 12:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            held.begin(TEXT, boundary=22, progress=cancel)
        assert _become(held, TEXT) >= 7


def test_lengths_in_common():
    assert common_length([1, 2, 3], [1, 2, 4, 5]) == 2
    assert common_length([], [1]) == common_length([1], []) == 0
    assert common_length([1, 2], [1, 2, 3]) == 2
