"""Prefixes on disk that are damaged, have no room, or do not come: the answers stay."""

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.kept import (
    kept_folder,
    kept_prefixes,
    prefix_writer,
)
from sala_compile.runtime.serving.kept.kept_folder import LOCK
from sala_compile.runtime.serving.kept.kept_prefixes import KeptPrefixes
from sala_compile.runtime.state import stored_rows
from tests.support.kept_server import LIMIT, ask, reset, server, wait, written
from tests.support.sequences import text, used


def test_damage_is_read_again(float32: Path, tmp_path: Path):
    """Whatever byte of whatever file: the answer is the same, and the damaged file goes."""
    with server(float32, tmp_path) as (model, kept):
        ids = text(model, 400)
        wanted, _ = ask(model, kept, ids)
        written(kept)
    whole = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.name != LOCK}
    random = np.random.default_rng(0)
    with server(float32, tmp_path) as (model, kept):
        for name, data in whole.items():
            for place in (0, 9, 30, 100, *random.integers(0, len(data), 4), len(data) - 1):
                kept.close()
                reset(model)
                for other, contents in whole.items():
                    (tmp_path / other).write_bytes(contents)
                broken = bytearray(data)
                broken[place] ^= 1 << int(random.integers(8))
                kept = KeptPrefixes(model, tmp_path, LIMIT)
                (tmp_path / name).write_bytes(broken)  # while it is open
                found, reused = ask(model, kept, ids)
                np.testing.assert_array_equal(found, wanted)
                if reused < 384:
                    assert kept.info()["damaged"] == 1
                    assert not (tmp_path / name).exists() or reused
        kept.close()


def test_a_file_that_goes_while_it_is_read(float32: Path, tmp_path: Path):
    with server(float32, tmp_path) as (model, kept):
        ids = text(model, 400)
        wanted, _ = ask(model, kept, ids)
        written(kept)
    with server(float32, tmp_path) as (model, kept):
        for path in sorted(tmp_path.glob("*.pages"))[:1]:
            path.unlink()
        found, _ = ask(model, kept, ids)
        np.testing.assert_array_equal(found, wanted)
        held = used(model)
    assert held["sequences"] == 0


def test_a_full_disk_stops_writing_and_nothing_else(
    float32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with server(float32, tmp_path) as (model, kept):
        ids = text(model, 300)
        with monkeypatch.context() as patched:
            patched.setattr(prefix_writer.os, "open", full)
            wanted, _ = ask(model, kept, ids)
            written(kept)
            for seed in range(1, 4):
                ask(model, kept, text(model, 300, seed))
        info = written(kept)
        assert info["write_errors"] >= 1
        assert info["files"] == 0
        np.testing.assert_array_equal(ask(model, kept, ids)[0], wanted)
        monkeypatch.setattr(prefix_writer, "REST_SECONDS", 0)
    assert sum("cannot be written" in each.message for each in caplog.records) == 1
    assert {each.name for each in tmp_path.iterdir()} == {LOCK}


def test_a_directory_that_became_read_only_and_then_went(float32: Path, tmp_path: Path):
    directory = tmp_path / "prefixes"
    with server(float32, directory) as (model, kept):
        ids = text(model, 300)
        wanted, _ = ask(model, kept, ids)
        written(kept)
        directory.rename(tmp_path / "elsewhere")
        reset(model)
        np.testing.assert_array_equal(ask(model, kept, ids)[0], wanted)
        ask(model, kept, text(model, 300, 1))
        info = written(kept)
        assert info["unreadable"] >= 1
        assert info["write_errors"] >= 1


def test_little_room_keeps_the_newest(float32: Path, tmp_path: Path):
    with server(float32, tmp_path) as (model, kept):
        ids = text(model, 300)
        ask(model, kept, ids)
        size = written(kept)["bytes"]
    with server(float32, tmp_path, limit=3 * size) as (model, kept):
        for seed in range(1, 9):
            last = text(model, 300, seed)
            ask(model, kept, last)
            assert written(kept)["bytes"] <= 3 * size
            total = sum(p.stat().st_size for p in tmp_path.iterdir())
            assert total == kept.info()["bytes"]
        reset(model)
        assert ask(model, kept, last)[1] == 256
        assert ask(model, kept, text(model, 300, 1))[1] == 0
    with server(float32, tmp_path, limit=100) as (model, kept):
        assert kept.info()["files"] == 0
        ask(model, kept, ids)
        assert written(kept)["no_room"] >= 1


def test_what_leaves_memory_while_it_is_copied(
    float32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stored_rows, "PIECE_BYTES", 2000)
    monkeypatch.setattr(kept_prefixes, "TURN_BYTES", 1)
    with server(float32, tmp_path) as (model, kept):
        ids = text(model, 300)
        ask(model, kept, ids)
        for _ in range(4):
            kept.turn()
        reset(model)
        info = written(kept)
        assert info["dropped"] >= 1
        assert info["files"] == 0
        assert used(model) == dict.fromkeys(used(model), 0)
        monkeypatch.undo()
        ask(model, kept, ids)
        assert written(kept)["states"] == 2


def test_without_room_in_memory_nothing_is_brought(float32: Path, tmp_path: Path):
    with server(float32, tmp_path) as (model, kept):
        ids = text(model, 1000)
        ask(model, kept, ids)
        written(kept)
        reset(model)
        with model.sequence() as one, model.sequence() as two:
            store = model.engine.store
            store.reserve(one.state, 1152)
            store.reserve(two.state, 1152)
            spare = {name: pool.take(pool.free) for name, pool in store.groups.pools()}
            path = model.engine.stepper.rule.path(1000)
            assert model.engine.prefix.recall(ids, path) is None
            assert kept.info()["no_memory"] >= 1
            for name, pool in store.groups.pools():
                pool.release(spare[name])
        assert used(model) == dict.fromkeys(used(model), 0)
        assert ask(model, kept, ids)[1] == 960


def test_a_disk_that_does_not_answer_is_not_waited_for(
    float32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with server(float32, tmp_path) as (model, kept):
        ids = text(model, 300)
        ask(model, kept, ids)
        written(kept)
    answers, read = threading.Event(), kept_folder.read_kept_pieces

    def waiting(*arguments: Any) -> Any:
        assert answers.wait(60)
        return read(*arguments)

    monkeypatch.setattr(kept_folder, "read_kept_pieces", waiting)
    monkeypatch.setattr(kept_prefixes, "RECALL_SECONDS", 0.05)
    with server(float32, tmp_path) as (model, kept):
        cache, path = model.engine.prefix, model.engine.stepper.rule.path(300)
        recall = cache.recall(ids, path)
        assert recall is not None
        wait(kept, lambda: recall.finished)
        assert kept.info()["late"] == 1
        assert used(model) == dict.fromkeys(used(model), 0)
        assert cache.recall(ids, path) is None, "nobody waits for it again"
        answers.set()
        wait(kept, lambda: cache.recall(ids, path) is not None)
        wait(kept, lambda: not kept.busy)
        assert ask(model, kept, ids)[1] == 256


def test_a_server_without_a_cache_is_refused(float32: Path, tmp_path: Path):
    with (
        sala_compile.load(float32) as model,
        pytest.raises(RequestError, match="needs a prefix cache"),
    ):
        KeptPrefixes(model, tmp_path, LIMIT)
    assert not os.listdir(tmp_path)
