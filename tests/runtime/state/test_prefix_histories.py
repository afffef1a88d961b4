"""Kept prefixes of one text that was read, generated, or both: each goes on with its own bits."""

from collections.abc import Iterator

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.engine.append import Append
from sala_compile.runtime.engine.chunk import SequenceChunk
from sala_compile.runtime.model import Model
from sala_compile.runtime.state.store import State
from sala_compile.runtime.state.text_history import TextHistory
from tests.runtime.conftest import Compiled
from tests.support.sequences import text, used

SIZES = {"context": 1152, "batch": 2, "chunk": 64, "poison": True}


@pytest.fixture(scope="module")
def cold(compiled: Compiled) -> Iterator[Model]:
    """Nothing is reused here."""
    with sala_compile.load(compiled("float32"), **SIZES) as loaded:
        yield loaded


@pytest.fixture
def model(compiled: Compiled) -> Iterator[Model]:
    with sala_compile.load(
        compiled("float32"), prefix_cache="8MiB", snapshot_every=128, **SIZES
    ) as loaded:
        yield loaded
        held = used(loaded)
        assert held["sequences"] == 0


def _read(
    model: Model, state: State, ids: np.ndarray, *, exact: bool = False
) -> tuple[np.ndarray, Append]:
    call = model.engine.append(state, ids, exact=exact)
    logits = model.engine.finish(call).logits
    assert logits is not None
    return logits[0], call


def _generate(model: Model, state: State, ids: np.ndarray) -> np.ndarray:
    for token in ids:
        [result] = model.engine.step([SequenceChunk.decode(state, int(token))])
    assert result.logits is not None
    return result.logits[0]


def test_histories():
    history = TextHistory()
    assert history.grown(0, False, 64).grown(128, False, 64).exact
    generated = history.grown(100, True, 64).grown(101, True, 64)
    assert generated.parts == ((100, True),)
    again = generated.grown(128, False, 64).grown(192, False, 64)
    assert again.parts == ((100, True), (128, False))
    assert history.grown(30, False, 64).parts == ((30, False),)
    assert again.cut(128) == generated
    assert again.cut(100).exact
    assert (again.exact_length(300), again.exact_length(50), history.exact_length(7)) == (
        *(100, 50),
        7,
    )
    assert TextHistory.unknown().exact_length(5) == 0
    assert [history.continues(length, 64) for length in (64, 100, 128)] == [True, False, True]
    assert [generated.continues(length, 64) for length in (127, 128)] == [True, True]
    assert [again.continues(length, 64) for length in (150, 192)] == [False, True]
    links = {each.link(b"0123456789abcdef") for each in (history, generated, again)}
    assert len(links) == 3
    assert TextHistory.unknown().link(b"text") != TextHistory.unknown().link(b"text")


def test_a_conversation_continues_what_it_generated(model: Model, cold: Model):
    """At any length: the end of an answer is kept."""
    first, answer, following = text(model, 90), text(model, 37, 1), text(model, 50, 2)
    whole = np.concatenate([first, answer, following])
    engine = model.engine
    state = engine.states.open()
    _read(model, state, first)
    _generate(model, state, answer)
    engine.keep(state)
    engine.states.close(state)
    state = engine.states.open()
    found, call = _read(model, state, whole)
    assert call.report.reused_tokens == 127
    assert not call.report.exact
    engine.states.close(state)
    with cold.sequence() as sequence:
        sequence.append(first)
        _generate(cold, sequence.state, answer)
        np.testing.assert_array_equal(found, sequence.append(following))
        assert (found != cold.logits(whole)[-1]).any(), "reading all gives the same bits here"


def test_what_was_read_is_not_mixed_with_what_was_generated(model: Model, cold: Model):
    """Both are kept for one text, and are the beginnings of longer ones."""
    first, answer = text(model, 100), text(model, 100, 1)
    engine = model.engine
    state = engine.states.open()
    _read(model, state, first)
    _generate(model, state, answer[:60])
    engine.keep(state)
    _generate(model, state, answer[60:])
    engine.keep(state)
    engine.states.close(state)
    for seed in (2, 3):
        whole = np.concatenate([first, answer, text(model, 150, seed)])
        for known in (64, 192) if seed == 2 else (192, 192):
            state = engine.states.open()
            found, call = _read(model, state, whole, exact=True)
            assert call.report.exact
            assert call.report.reused_tokens >= known
            np.testing.assert_array_equal(found, cold.logits(whole)[-1])
            engine.states.close(state)


def test_random_conversations(model: Model, cold: Model):
    """Exact hits have the bits of a cold model, others those of the conversation."""
    random = np.random.default_rng(5)
    openings = [text(model, 70 + 40 * seed, seed) for seed in range(3)]
    for number in range(60):
        exact = bool(random.integers(2))
        opening = openings[random.integers(3)]
        prompt = np.concatenate([opening, text(model, int(random.integers(1, 90)), number % 5)])
        answer = text(model, int(random.integers(1, 60)), number % 4)
        state = model.engine.states.open()
        found, _ = _read(model, state, prompt, exact=exact)
        parts = state.history.parts
        _generate(model, state, answer)
        model.engine.keep(state)
        end = state.length
        history, tokens = state.history, model.engine.states.token_ids(state)
        model.engine.states.close(state)
        np.testing.assert_array_equal(found, _computed(cold, prompt, parts))
        following = text(model, 33, number)
        again = model.engine.states.open()
        whole = np.concatenate([tokens, following]).astype(np.int32)
        found, call = _read(model, again, whole)
        assert call.report.reused_tokens >= min(end, 128)
        np.testing.assert_array_equal(found, _computed(cold, whole, again.history.parts))
        assert again.history.cut(end) == history or call.report.reused_tokens != end
        model.engine.states.close(again)


def _computed(cold: Model, ids: np.ndarray, parts: tuple[tuple[int, bool], ...]) -> np.ndarray:
    """The logits after a text that was read and generated in these parts."""
    ends = [*(begin for begin, _ in parts), len(ids)]
    state = cold.engine.states.open()
    begin, generated = 0, False
    for end, following in zip(ends, [*(kind for _, kind in parts), False], strict=True):
        if end > begin:
            call = cold.engine.append(state, ids[begin:end], generated=generated)
            # The path of a part that was read is that of the whole text here: all are sparse.
            logits = cold.engine.finish(call).logits
        begin, generated = end, following
    cold.engine.states.close(state)
    assert logits is not None
    return logits[0]
