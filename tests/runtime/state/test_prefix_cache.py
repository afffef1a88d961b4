"""The prefix cache: what it reuses, what it says where it does not, and what it costs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.common.units import parse_bytes
from sala_compile.runtime.errors import MemoryBudgetError, RequestError
from sala_compile.runtime.model import Model
from sala_compile.runtime.state.prefix_cache import Miss, PrefixReport
from tests.support.sequences import text, used

EVERY = 128
UNIT = 64
"""States are kept at multiples of it: whole pages, and what is read at a time."""


def _load(path: Path, size: str = "4MiB", **options: Any) -> Model:
    chosen: dict[str, Any] = {
        "context": 1152,
        "batch": 2,
        "chunk": 64,
        "snapshot_every": EVERY,
    } | options
    return sala_compile.load(path, prefix_cache=size, poison=True, **chosen)


@pytest.fixture(params=["float32", "bfloat16"])
def model(request: pytest.FixtureRequest, compiled):
    with _load(compiled(request.param)) as loaded:
        yield loaded


@pytest.fixture
def float32(compiled):
    with _load(compiled("float32")) as loaded:
        yield loaded


@pytest.fixture
def patient(compiled):
    """Sparse from 192 tokens on."""
    with _load(compiled("patient")) as loaded:
        yield loaded


def _ask(model: Model, ids: np.ndarray) -> tuple[np.ndarray, PrefixReport]:
    with model.sequence() as sequence:
        logits = sequence.append(ids)
        assert sequence.prefix_report is not None
        assert sequence.token_ids == ids.tolist()
        return logits, sequence.prefix_report


def _agree(model: Model, found: np.ndarray, ids: np.ndarray) -> None:
    limit = 1e-4 if model.info()["dtype"] == "float32" else 0.05
    np.testing.assert_allclose(found, model.logits(ids)[-1], rtol=0, atol=limit)


@pytest.mark.parametrize("length", [65, 81, 128, 129, 200, 1030, 1100])
def test_the_same_prompt_reuses_all_but_its_last_part(model: Model, length: int):
    """To the bit, although one token alone may be left to be read."""
    ids = text(model, length)
    first, missed = _ask(model, ids)
    again, hit = _ask(model, ids)
    assert (missed.reused_tokens, missed.miss) == (0, Miss.NOTHING_CACHED)
    assert (hit.reused_tokens, hit.miss) == ((length - 1) // UNIT * UNIT, None)
    assert hit.exact
    np.testing.assert_array_equal(again, first)
    np.testing.assert_array_equal(again, model.logits(ids)[-1])


def test_a_prompt_without_a_whole_part_is_not_kept(model: Model):
    ids = text(model, UNIT)
    for _ in range(2):
        found, report = _ask(model, ids)
        np.testing.assert_array_equal(found, model.logits(ids)[-1])
        assert (report.reused_tokens, report.miss) == (0, Miss.TOO_SHORT)


def test_text_that_was_not_read_in_one_piece_says_so(float32: Model):
    """Generated, or read by calls that were cut elsewhere: reused, and within rounding."""
    ids = text(float32, 200)
    with float32.sequence() as sequence:
        sequence.append(ids[:100])
        sequence.append(ids[100:150])
        for token in ids[150:]:
            sequence.append([token])
    found, report = _ask(float32, ids)
    assert (report.reused_tokens, report.exact) == (128, False)
    _agree(float32, found, ids)
    other = text(float32, 200, seed=1)
    with float32.sequence() as sequence:
        sequence.append(other[:70])
        sequence.append(other[70:])
    found, report = _ask(float32, other)
    assert (report.reused_tokens, report.exact) == (192, False)
    _agree(float32, found, other)


def test_a_longer_prompt_continues_a_shorter_one(model: Model):
    ids = text(model, 300)
    _ask(model, ids[:150])
    found, report = _ask(model, ids)
    assert report.reused_tokens == 128
    _agree(model, found, ids)


def test_the_third_prompt_with_a_common_beginning_reuses_it(model: Model):
    """The second one shows where texts part: a state is kept there."""
    ids = text(model, 300)
    prompts = [np.concatenate([ids[:100], text(model, 100, seed)]) for seed in (1, 2, 3)]
    reports = []
    for prompt in prompts:
        found, report = _ask(model, prompt)
        reports.append(report)
        _agree(model, found, prompt)
    assert [report.reused_tokens for report in reports] == [0, 0, 64]
    assert [report.known_tokens for report in reports] == [0, 96, 96]
    assert reports[1].miss == Miss.NO_SNAPSHOT
    for prompt in prompts:
        assert _ask(model, prompt)[1].reused_tokens == 192


def test_every_miss_says_why(patient: Model):
    ids = text(patient, 300)
    _, report = _ask(patient, ids[:16])
    assert report.miss == Miss.TOO_SHORT
    _ask(patient, ids)
    assert _ask(patient, ids[:140])[1].miss == Miss.OTHER_PATH
    assert _ask(patient, ids[:140])[1].miss is None
    assert _ask(patient, text(patient, 300, seed=1))[1].miss == Miss.OTHER_TEXT
    with patient.sequence() as sequence:
        sequence.append(ids[:10])
        sequence.append(ids[10:200])
        assert sequence.prefix_report is not None
        assert sequence.prefix_report.miss == Miss.NOT_FROM_START
    info = patient.info()["prefix_cache"]
    assert info["misses"][Miss.OTHER_PATH.value] == 1
    assert (info["lookups"], info["hits"], info["hit_tokens"]) == (7, 1, 128)
    assert info["prompt_tokens"] == 16 + 300 + 140 + 140 + 300 + 10 + 190


def test_the_attention_path_separates_equal_texts(patient: Model):
    """A prefix of a sparse call is not taken for a dense one, nor the other way round."""
    ids = text(patient, 200)
    for length in (140, 200, 140, 200):
        found, _ = _ask(patient, ids[:length])
        _agree(patient, found, ids[:length])
    found, report = _ask(patient, ids[:191])
    assert (report.path, report.reused_tokens) == ("dense", 128)
    _agree(patient, found, ids[:191])


def test_a_text_of_both_paths_is_kept_as_far_as_the_first(patient: Model):
    ids = text(patient, 300)
    with patient.sequence() as sequence:
        sequence.append(ids[:150])
        sequence.append(ids[150:])
    found, report = _ask(patient, ids)
    assert (report.reused_tokens, report.miss) == (0, Miss.OTHER_PATH)
    _agree(patient, found, ids)


def test_decoded_tokens_are_kept_too(float32: Model):
    ids = text(float32, 100)
    with float32.sequence() as one, float32.sequence() as two:
        one.append(ids)
        two.append(ids[:50])
        tokens = []
        for _ in range(40):
            rows = float32.decode([one, two], [5, 6])
            tokens.append(5)
            assert rows.shape == (2, float32.vocabulary)
    whole = np.concatenate([ids, tokens])
    found, report = _ask(float32, whole)
    assert report.reused_tokens == 128
    _agree(float32, found, whole)


def test_eviction_makes_room_and_keeps_what_was_used_last(compiled):
    with _load(compiled("float32"), "1MiB", context=320) as model:
        hot = text(model, 200, seed=99)
        _ask(model, hot)
        for seed in range(30):
            found, _ = _ask(model, text(model, 300, seed))
            _agree(model, found, text(model, 300, seed))
            assert _ask(model, hot)[1].reused_tokens == 192
        info = model.info()["prefix_cache"]
        assert info["evictions"] > 0
        assert info["not_kept"] == 0
        assert info["snapshots"]["used"] <= info["snapshots"]["total"]
        assert _ask(model, text(model, 300, 0))[1].miss == Miss.EVICTED


def test_sequences_come_before_the_cache(compiled):
    """All pages that sequences were promised are theirs, whatever is cached."""
    with _load(compiled("float32"), "1MiB", context=320) as model:
        for seed in range(8):
            _ask(model, text(model, 310, seed))
        one, two = model.sequence(), model.sequence()
        one.append(text(model, 320, 20))
        two.append(text(model, 320, 21))
        one.close()
        two.close()
        assert used(model)["sequences"] == 0


def test_what_is_shared_survives_eviction(compiled):
    with _load(compiled("float32"), "512KiB", context=320) as model:
        ids, more = text(model, 200), text(model, 40, seed=50)
        _ask(model, ids)
        with model.sequence() as sequence:
            sequence.append(ids)
            assert sequence.prefix_report is not None
            assert sequence.prefix_report.reused_tokens == 192
            for seed in range(1, 20):
                _ask(model, text(model, 300, seed))
            found = sequence.append(more)
        _agree(model, found, np.concatenate([ids, more]))


def test_truncating_returns_to_kept_states(float32: Model):
    ids = text(float32, 300)
    with float32.sequence() as sequence:
        wanted = sequence.append(ids)
        assert sequence.snapshots() == [0, 128, 256]
        with pytest.raises(RequestError, match="no snapshot at 200") as caught:
            sequence.truncate(200)
        assert "128 and 256" in str(caught.value)
        sequence.truncate(128)
        np.testing.assert_allclose(sequence.append(ids[128:]), wanted, rtol=0, atol=1e-4)


def test_a_cancelled_prompt_goes_on_from_what_was_kept(float32: Model):
    class Cancelled(Exception):
        pass

    def progress(done: int) -> None:
        if done > 256:
            raise Cancelled

    ids = text(float32, 400)
    with float32.sequence() as sequence:
        with pytest.raises(Cancelled):
            sequence.append(ids, progress)
        assert len(sequence) == 0
        _agree(float32, sequence.append(ids), ids)
        assert sequence.prefix_report is not None
        assert sequence.prefix_report.reused_tokens == 256


def test_the_plan_counts_the_cache(compiled):
    path = compiled("float32")
    with sala_compile.load(path, context=320) as plain:
        base = plain.info()
    with sala_compile.load(path, context=320, prefix_cache="2MiB", snapshot_every=64) as model:
        info = model.info()
    added = info["memory"]["total_bytes"] - base["memory"]["total_bytes"]
    unit = 2 << 20
    assert 0.9 * unit < added <= unit
    assert info["memory"]["total_bytes"] == info["memory"]["planned_bytes"]
    assert info["pages"]["kv"]["total"] > base["pages"]["kv"]["total"]
    assert info["prefix_cache"]["bytes"] == parse_bytes("2MiB")
    assert base["prefix_cache"] == {"enabled": False}


def test_a_cache_that_makes_no_sense_is_refused(compiled):
    path = compiled("float32")
    with pytest.raises(MemoryBudgetError, match="cannot hold one snapshot"):
        sala_compile.load(path, prefix_cache="1KiB")
    with pytest.raises(RequestError, match="a snapshot every 100 tokens"):
        sala_compile.load(path, prefix_cache="2MiB", snapshot_every=100)
    with pytest.raises(RequestError, match="for a prefix cache"):
        sala_compile.load(path, snapshot_every=128)
    total = sala_compile.load(path, context=320).info()["memory"]["total_bytes"]
    with pytest.raises(MemoryBudgetError):
        sala_compile.load(path, context=320, memory=total + 1000, prefix_cache="2MiB")
