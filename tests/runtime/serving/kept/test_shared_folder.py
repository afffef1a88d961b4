"""Prefixes at a URL: what one server wrote, another restores to the bit; files that go wrong."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.kept import shared_folder, url_files
from sala_compile.runtime.serving.kept.kept_prefixes import KeptPrefixes
from sala_compile.runtime.serving.kept.named_state import UnknownState
from sala_compile.runtime.serving.kept.named_states import NamedStates
from sala_compile.runtime.serving.kept.shared_folder import SharedFolder, folder_at
from sala_compile.runtime.serving.scheduling.engine_thread import EngineThread
from tests.support.kept_files import IDENTITY, header, write_kept
from tests.support.kept_server import ask, server, wait, written

pytest.importorskip("fsspec", reason="the extra [ray] has fsspec")
LIMIT = 1 << 20


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder of this machine, and one that has no directories, as object stores."""
    if request.param == "file":
        yield f"file://{tmp_path}/shared"
        return
    root = f"memory://{uuid4().hex}"
    yield root
    import fsspec

    fsspec.filesystem("memory").store.clear()


def _sent(folder: SharedFolder, place: Path, *made: Any) -> None:
    """Files that another server sent."""
    for each in made:
        folder._files.put(write_kept(place, each), each.name)


def _ids(model: Any, length: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    return rng.integers(1, model.vocabulary, length).astype(np.int32)


def test_a_state_of_one_server_is_restored_by_another_to_the_bit(handmade: Path, url: str):
    options = {"context": 64, "chunk": 8, "snapshot_every": 8}
    with server(handmade, url, **options) as (model, kept):
        ids = _ids(model, 50)
        expected, reused = ask(model, kept, ids)
        assert reused == 0
        assert written(kept)["written"] > 0
        with server(handmade, url, **options) as (other, its):
            found, reused = ask(other, its, ids)
            np.testing.assert_array_equal(found[-1], expected[-1])
            assert reused == 48
            assert its.info()["recalled"] == 1


def test_what_another_server_writes_later_is_learned(
    handmade: Path, url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shared_folder, "REFRESH_SECONDS", 0.05)
    options = {"context": 64, "chunk": 8, "snapshot_every": 8}
    with (
        server(handmade, url, **options) as (one, kept),
        server(handmade, url, **options) as (other, its),
    ):
        ids = _ids(one, 40)
        ask(one, kept, ids)
        states = written(kept)["states"]
        wait(its, lambda: its.info()["states"] == states)
        assert ask(other, its, ids)[1] == 36


def test_a_file_is_used_only_once_all_of_its_beginning_is_there(tmp_path: Path, url: str):
    folder = folder_at(url, LIMIT, IDENTITY)
    assert isinstance(folder, SharedFolder)
    pages, more = header("pages", "a", 0, 64), header("pages", "b", 64, 128, "a")
    state = header("state", "b", 128, 130, "b")
    _sent(folder, tmp_path, state, more)
    folder.refresh()
    assert folder.info()["states"] == 0
    _sent(folder, tmp_path, pages)
    folder.refresh()
    assert {key: folder.info()[key] for key in ("files", "states")} == {"files": 3, "states": 1}
    assert [len(piece) for piece in folder.pieces(state)] == [100, 50]
    folder._files.remove(pages.name)
    folder.refresh()
    assert folder.info()["files"] == 0
    assert folder.info()["gone"] == 1
    folder.close()


def test_a_file_that_is_half_there_is_not_used_nor_removed(tmp_path: Path, url: str):
    folder = SharedFolder(url, LIMIT, IDENTITY)
    state = header("state", "a", 0, 10)
    whole = write_kept(tmp_path, state).read_bytes()
    folder._files.write(state.name, whole[:-20])
    folder.refresh()
    assert folder.info()["states"] == 0
    folder._files.write(state.name, whole)
    folder.refresh()
    assert folder.info()["states"] == 1
    folder.close()


def test_a_damaged_piece_is_found_and_its_file_removed(handmade: Path, url: str):
    options = {"context": 64, "chunk": 8, "snapshot_every": 8}
    with server(handmade, url, **options) as (model, kept):
        ids = _ids(model, 50)
        expected, _ = ask(model, kept, ids)
        written(kept)
    files = url_files.UrlFiles(url)
    for each in files.list():
        data = bytearray(files.read(each.name))
        data[-1] ^= 1
        files.write(each.name, bytes(data))
    with server(handmade, url, **options) as (model, kept):
        for _ in range(20):
            found, _ = ask(model, kept, ids)
            np.testing.assert_array_equal(found[-1], expected[-1])
        assert kept.info()["damaged"] >= 1
        assert kept.folder.counts["unreadable"] == 0


def test_a_file_that_somebody_replaced_is_not_taken_for_the_old_one(tmp_path: Path, url: str):
    folder = SharedFolder(url, LIMIT, IDENTITY)
    pages, state = header("pages", "a", 0, 64), header("state", "a", 64, 70, "a")
    _sent(folder, tmp_path, pages, state)
    folder.refresh()
    other = header("state", "a", 64, 70, "a", size=400)
    assert other.name == state.name
    _sent(folder, tmp_path, other)
    with pytest.raises(Exception, match="another one by now"):
        list(folder.pieces(state))
    folder.refresh()
    assert [len(piece) for piece in folder.pieces(other)] == [400, 200]
    assert folder.info()["states"] == 1
    folder.close()


def test_the_least_used_make_room_and_leave_the_url(tmp_path: Path, url: str):
    states = [header("state", name, 0, 10, size=1000) for name in "abcd"]
    folder = SharedFolder(url, sum(each.nbytes for each in states), IDENTITY)
    _sent(folder, tmp_path, *states)
    folder.refresh()
    used = folder.state(states[0])
    assert used is not None
    folder.touch(used)
    assert folder.make_room(1500)
    assert folder.state(states[0]) is used
    left = {each.name for each in states if folder.state(each) is not None}
    folder.close()
    assert {each.name for each in folder._files.list()} == left
    assert len(left) < 4


def test_decoding_goes_on_while_the_store_is_slow(
    handmade: Path, url: str, monkeypatch: pytest.MonkeyPatch
):
    """Every turn returns while an upload waits; nothing of the URL runs on the engine's thread."""
    go, own = threading.Event(), threading.get_ident()
    callers: set[int] = set()
    put = url_files.UrlFiles.put

    def slow(self: Any, path: Path, name: str) -> None:
        callers.add(threading.get_ident())
        assert go.wait(60)
        put(self, path, name)

    options = {"context": 64, "chunk": 8, "snapshot_every": 8}
    with server(handmade, url, **options) as (model, kept):
        monkeypatch.setattr(url_files.UrlFiles, "put", slow)
        ids = _ids(model, 50)
        ask(model, kept, ids)
        wait(kept, lambda: bool(callers))
        for _ in range(100):
            kept.turn()
        assert ask(model, kept, ids)[1] == 48
        go.set()
        assert written(kept)["written"] > 0
    assert own not in callers


def test_a_url_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch, handmade: Path):
    with pytest.raises(RequestError, match="cannot be used"):
        SharedFolder("nosuchprotocol://bucket", LIMIT, IDENTITY)

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(url_files.importlib, "import_module", missing)
    with pytest.raises(RequestError, match="not installed: fsspec") as caught:
        SharedFolder("memory://a", LIMIT, IDENTITY)
    assert caught.value.expected is not None
    assert "[ray]" in caught.value.expected


def test_a_store_that_cannot_be_listed_is_refused(monkeypatch: pytest.MonkeyPatch):
    def broken(self: Any) -> Any:
        raise OSError("no route")

    monkeypatch.setattr(url_files.UrlFiles, "list", broken)
    with pytest.raises(RequestError, match="cannot be listed: no route"):
        SharedFolder("memory://unlisted", LIMIT, IDENTITY)


def test_named_states_are_found_by_other_servers(handmade: Path, url: str):
    options = {"prefix_cache": "64KiB", "batch": 2}
    with (
        sala_compile.load(handmade, **options) as one,
        sala_compile.load(handmade, **options) as two,
    ):
        threads = [EngineThread(each.engine) for each in (one, two)]
        kept = [
            KeptPrefixes(model, url, LIMIT, wake=thread.wake)
            for model, thread in zip((one, two), threads, strict=True)
        ]
        for thread in threads:
            thread.start()
        first, second = (NamedStates(k, t, "m" * 64) for k, t in zip(kept, threads, strict=True))
        made = first.create("book", _ids(one, 40), prompt="x")
        assert second.get("book") == made
        assert [each.id for each in second.all()] == ["book"]
        second.delete("book")
        assert first.all() == []
        with pytest.raises(UnknownState):
            first.get("book")
        for thread, each in zip(threads, kept, strict=True):
            thread.stop()
            each.close()
