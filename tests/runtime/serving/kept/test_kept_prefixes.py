"""Prefixes on disk: what comes back is what was there, to the bit, or nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sala_compile.runtime.model import Model
from sala_compile.runtime.serving.kept import (
    kept_prefixes,
)
from sala_compile.runtime.serving.kept.kept_prefixes import KeptPrefixes
from sala_compile.runtime.serving.kept.kept_rows import KeptRows
from sala_compile.runtime.state import stored_rows
from tests.support.kept_server import ask, reset, server, wait, written
from tests.support.sequences import text, used


@pytest.mark.parametrize("length", [65, 129, 200, 450, 1100])
def test_a_restarted_server_does_not_read_again(path: Path, tmp_path: Path, length: int):
    with server(path, tmp_path) as (model, kept):
        ids = text(model, length)
        first, reused = ask(model, kept, ids)
        assert reused == 0
        assert written(kept)["written"] >= 1
        assert model.info()["prefix_cache"]["directory"] == kept.info()
        idle = used(model)
    with server(path, tmp_path) as (model, kept):
        again, reused = ask(model, kept, ids)
        assert reused == (length - 1) // 64 * 64
        np.testing.assert_array_equal(again, first)
        assert (kept.info()["recalled"], kept.info()["recalled_tokens"]) == (1, reused)
        longer = np.concatenate([ids, text(model, 40, seed=1)])
        found, reused = ask(model, kept, longer)
        np.testing.assert_array_equal(found, model.logits(longer)[-1])
        assert "damaged" not in written(kept)
        assert used(model)["sequences"] == idle["sequences"] == 0


def test_rows_come_back_to_the_bit(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Every page and the slot, whatever the size of the pieces."""
    monkeypatch.setattr(stored_rows, "PIECE_BYTES", 3000)
    with server(path, tmp_path) as (model, kept):
        ids = text(model, 700)
        ask(model, kept, ids)
        written(kept)
        before = _rows(model, kept, ids)
    with server(path, tmp_path) as (model, kept):
        other = text(model, 300, seed=3)
        ask(model, kept, other)  # other pages than before
        ask(model, kept, ids)
        after = _rows(model, kept, ids)
    assert [len(each) for each in before] == [len(each) for each in after]
    for one, two in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, two)


def _rows(model: Model, kept: KeptPrefixes, ids: np.ndarray) -> list[np.ndarray]:
    """All pieces of the longest kept prefix of a text."""
    cache = model.engine.prefix
    assert cache is not None
    entry = cache.longest(ids, model.engine.stepper.rule.path(len(ids)))
    assert entry is not None
    rows = KeptRows(model.artifact, model.info()["target"], model.engine.rows)
    pieces = [*rows.page_pieces(0, entry.length), *rows.state_pieces(entry.length)]
    pages = cache.tree.pages_of(entry)
    return [rows.read(piece, pages, entry.snapshot) for piece in pieces]


def test_pages_are_stored_once(float32: Path, tmp_path: Path):
    """Of texts with a common beginning, each adds its own pages and states alone."""
    with server(float32, tmp_path) as (model, kept):
        common = text(model, 640)
        sizes = []
        for seed in range(1, 6):
            ask(model, kept, np.concatenate([common, text(model, 70, seed)]))
            sizes.append(written(kept)["bytes"])
        steps = np.diff(sizes)
        states = kept.info()["states"]
        assert states == 5 + 5  # every 128, and five ends
        assert max(steps[1:]) < sizes[0] / 4


def test_a_long_text_is_brought_in_bounded_pieces(
    float32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stored_rows, "PIECE_BYTES", 2000)
    monkeypatch.setattr(kept_prefixes, "TURN_BYTES", 5000)
    with server(float32, tmp_path) as (model, kept):
        ids = text(model, 1100)
        ask(model, kept, ids)
        written(kept)
    with server(float32, tmp_path) as (model, kept):
        rows = KeptRows(model.artifact, model.info()["target"], model.engine.rows)
        pieces = [*rows.page_pieces(0, 1088), *rows.state_pieces(1088)]
        moved = _moved(model, kept)
        first, reused = ask(model, kept, ids)
        assert reused == 1088
        np.testing.assert_array_equal(first, model.logits(ids)[-1])
        assert len(moved) > 10
        assert max(moved) <= 5000 + max(piece.nbytes for piece in pieces)


def _moved(model: Model, kept: KeptPrefixes) -> list[int]:
    """Filled with the bytes that each turn writes into memory."""
    moved: list[int] = []
    write, turn = model.memory.write_rows, kept.turn

    def counting(name: str, rows: Any, values: np.ndarray) -> None:
        moved[-1] += values.nbytes
        write(name, rows, values)

    def begun() -> None:
        moved.append(0)
        turn()

    model.memory.write_rows, kept.turn = counting, begun  # type: ignore[method-assign]
    return moved


def test_what_was_generated_continues_and_is_not_taken_for_read(float32: Path, tmp_path: Path):
    def answered(model: Model, kept: KeptPrefixes) -> np.ndarray:
        """A conversation whose answer is kept at its end, within a page."""
        with model.sequence() as sequence:
            sequence.append(ids)
            for token in answer:
                sequence.append([token])
            model.engine.prefix.keep(sequence.state)
            return sequence.append(question)

    with server(float32, tmp_path) as (model, kept):
        ids, answer, question = (text(model, n, n) for n in (200, 39, 10))
        whole = np.concatenate([ids, answer, question])
        wanted = answered(model, kept)
        written(kept)
    with server(float32, tmp_path) as (model, kept):
        found, reused = ask(model, kept, whole, exact=True)
        assert reused == 192
    with server(float32, tmp_path) as (model, kept):
        found, reused = ask(model, kept, whole)
        assert reused == 239
        np.testing.assert_array_equal(found, wanted)


def test_another_model_takes_nothing(compiled, tmp_path: Path):
    with server(compiled("float32"), tmp_path) as (model, kept):
        ids = text(model, 300)
        ask(model, kept, ids)
        written(kept)
    for name in ("bfloat16", "patient"):
        with server(compiled(name), tmp_path) as (model, kept):
            found, reused = ask(model, kept, ids)
            assert reused == 0
            np.testing.assert_array_equal(found, model.logits(ids)[-1])
            written(kept)
    with server(compiled("float32"), tmp_path) as (model, kept):
        assert ask(model, kept, ids)[1] == 256


def test_other_attention_paths_take_nothing(compiled, tmp_path: Path):
    with server(compiled("patient"), tmp_path) as (model, kept):
        ids = text(model, 300)
        ask(model, kept, ids[:150])
        written(kept)
    with server(compiled("patient"), tmp_path) as (model, kept):
        found, reused = ask(model, kept, ids)  # sparse from 192 tokens on
        assert reused == 0
        np.testing.assert_array_equal(found, model.logits(ids)[-1])
        assert ask(model, kept, ids[:150])[1] == 128


def test_two_requests_wait_for_one_recall(float32: Path, tmp_path: Path):
    with server(float32, tmp_path) as (model, kept):
        ids = text(model, 300)
        ask(model, kept, ids)
        written(kept)
    with server(float32, tmp_path) as (model, kept):
        cache, name = model.engine.prefix, model.engine.stepper.rule.path(300)
        one, two = cache.recall(ids, name), cache.recall(ids, name)
        assert one is two
        assert one is not None
        assert kept.busy
        wait(kept, lambda: one.finished)
        assert not kept.busy
        assert cache.recall(ids, name) is None
        shorter = cache.recall(ids[:200], name)
        assert shorter is not None  # its state was not brought
        wait(kept, lambda: shorter.finished)
        assert ask(model, kept, ids[:200])[1] == 192 // 128 * 128


def test_a_text_that_is_read_meanwhile(float32: Path, tmp_path: Path):
    with server(float32, tmp_path) as (model, kept):
        ids = text(model, 300)
        ask(model, kept, ids)
        written(kept)
    with server(float32, tmp_path) as (model, kept):
        recall = model.engine.prefix.recall(ids, model.engine.stepper.rule.path(300))
        assert recall is not None
        with model.sequence() as sequence:
            sequence.append(ids)
        held = used(model)
        wait(kept, lambda: recall.finished)
        assert used(model)["snapshots"] == held["snapshots"] - 1
        reset(model)
        assert used(model) == dict.fromkeys(used(model), 0)


def test_texts_of_another_salt_are_not_found(float32: Path, tmp_path: Path):
    with server(float32, tmp_path) as (model, kept):
        ids = text(model, 300)
        with model.sequence() as sequence:
            sequence.state.salt = b"mine"
            sequence.append(ids)
        written(kept)
    with server(float32, tmp_path) as (model, kept):
        cache, path = model.engine.prefix, model.engine.stepper.rule.path(300)
        assert cache.recall(ids, path) is None
        assert cache.recall(ids, path, salt=b"yours") is None
        recall = cache.recall(ids, path, salt=b"mine")
        assert recall is not None
        wait(kept, lambda: recall.finished)
        for salt, reused in ((b"mine", 256), (b"yours", 0), (b"", 0)):
            with model.sequence() as sequence:
                sequence.state.salt = salt
                sequence.append(ids)
                assert sequence.prefix_report is not None
                assert sequence.prefix_report.reused_tokens == reused
