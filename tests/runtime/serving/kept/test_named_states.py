"""States that have a name: created, continued, found after a restart, deleted."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.errors import RequestError, SalaError, StateFileError
from sala_compile.runtime.serving.kept import named_states
from sala_compile.runtime.serving.kept.kept_folder import LOCK, NAMED
from sala_compile.runtime.serving.kept.kept_prefixes import KeptPrefixes
from sala_compile.runtime.serving.kept.named_state import LONGEST_ID, UnknownState
from sala_compile.runtime.serving.kept.named_states import NamedStates
from sala_compile.runtime.serving.scheduling.engine_thread import EngineThread
from sala_compile.runtime.serving.work.event import End, Ended
from sala_compile.runtime.serving.work.job import Job

LIMIT = 1 << 20
MODEL = "m" * 64


@contextmanager
def _server(path: Path, directory: Path, limit: int = LIMIT, model: str = MODEL) -> Iterator:
    with sala_compile.load(path, prefix_cache="64KiB", batch=2, poison=True) as loaded:
        thread = EngineThread(loaded.engine)
        kept = KeptPrefixes(loaded, directory, limit, wake=thread.wake)
        thread.start()
        try:
            yield NamedStates(kept, thread, model), kept
        finally:
            thread.stop()
            kept.close()


def _ids(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 29, length).astype(np.int32)


def _files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - {LOCK, NAMED}


def test_a_state_is_created_found_and_deleted(handmade: Path, tmp_path: Path):
    with _server(handmade, tmp_path) as (states, kept):
        messages = [{"role": "user", "content": "Read this."}]
        made = states.create("book/1".replace("/", "-"), _ids(40), messages=messages)
        assert states.get("book-1") == made
        assert made.messages == messages
        np.testing.assert_array_equal(made.ids, _ids(40))
        assert [each.id for each in states.all()] == ["book-1"]
        assert states.all()[0].messages is None
        assert states.size(made) > 0
        assert kept.info()["states"] >= 1
        states.delete("book-1")
        assert states.all() == []
        with pytest.raises(UnknownState, match="no state 'book-1'"):
            states.get("book-1")
        with pytest.raises(UnknownState):
            states.delete("book-1")
        assert states.size(made) == 0
        assert not (tmp_path / f"{made.kept}.state").exists()
        assert list((tmp_path / NAMED).iterdir()) == []


def test_states_outlive_the_process_and_stay_when_room_is_needed(handmade: Path, tmp_path: Path):
    with _server(handmade, tmp_path) as (states, kept):
        made = states.create("a", _ids(40), prompt=_ids(40).tolist())
        limit = 7 * states.size(made)  # half of it: one, another, and that which replaces it
    with _server(handmade, tmp_path, limit) as (states, kept):
        assert states.get("a") == made
        assert states.size(states.all()[0]) > 0
        for seed in range(1, 9):
            states.create("b", _ids(40, seed), prompt="x")
        assert kept.info()["evictions"] > 0
        assert (tmp_path / f"{made.kept}.state").exists()
        assert [each.id for each in states.all()] == ["a", "b"]
    with _server(handmade, tmp_path, model="n" * 64) as (states, kept):
        assert states.all() == []
        with pytest.raises(UnknownState):
            states.get("a")


def test_states_leave_half_of_the_room_to_others(handmade: Path, tmp_path: Path):
    with _server(handmade, tmp_path) as (states, _):
        size = states.size(states.create("a", _ids(40), prompt="x"))
    with _server(handmade, tmp_path, 5 * size) as (states, _):
        states.create("b", _ids(40, 1), prompt="x")
        with pytest.raises(StateFileError, match="cannot be written"):
            states.create("c", _ids(40, 2), prompt="x")
        assert [each.id for each in states.all()] == ["a", "b"]
        states.delete("a")
        states.create("c", _ids(40, 2), prompt="x")


def test_a_short_text_has_no_state_and_works_all_the_same(handmade: Path, tmp_path: Path):
    with _server(handmade, tmp_path) as (states, _):
        made = states.create("a", _ids(2), prompt="x")
        assert made.kept == ""
        assert states.size(made) == 0
        states.delete("a")


NO_IDS = ("", ".", "..", "../a", "a/b", "/etc/passwd", "a\\b", "a\0", "-a", "ä", " a", "a\n", "%2e")


@pytest.mark.parametrize("name", [*NO_IDS, "a" * (LONGEST_ID + 1), 7, None])
def test_ids_are_no_paths(handmade: Path, tmp_path: Path, name: object):
    with _server(handmade, tmp_path / "in") as (states, _):
        for act in (states.get, states.delete, lambda each: states.create(each, _ids(40))):
            with pytest.raises(RequestError, match="id of a state is not valid"):
                act(name)
    assert {path.name for path in tmp_path.rglob("*")} == {"in", LOCK, NAMED}


def test_one_name_cannot_reach_the_file_of_another(handmade: Path, tmp_path: Path):
    names = ["A", "a", "a.json", "CON", "x" * LONGEST_ID, "a:b", "0"]
    with _server(handmade, tmp_path) as (states, _):
        for number, name in enumerate(names):
            states.create(name, _ids(40, number), prompt=name)
        assert [states.get(name).prompt for name in names] == names
        assert len(list((tmp_path / NAMED).iterdir())) == len(names)


def test_a_damaged_record_is_no_state(handmade: Path, tmp_path: Path):
    with _server(handmade, tmp_path) as (states, _):
        states.create("a", _ids(40), prompt="the text")
        states.create("b", _ids(40, 1), prompt="x")
    [path] = [p for p in (tmp_path / NAMED).iterdir() if b"the text" in p.read_bytes()]
    whole = path.read_bytes()
    for broken in (whole[:-9], whole.replace(b"the", b"The"), b"[]", b"\xff", b"[" * 10_000, b""):
        path.write_bytes(broken)
        with _server(handmade, tmp_path) as (states, kept):
            assert [each.id for each in states.all()] == ["b"]
            assert kept.info()["damaged"] == 1
            with pytest.raises(UnknownState):
                states.get("a")
    path.write_bytes(whole)
    with _server(handmade, tmp_path) as (states, _):
        path.write_bytes(b"{}")  # while it is open
        with pytest.raises(UnknownState):
            states.get("a")
        states.create("a", _ids(40), prompt="again")
        assert states.get("a").prompt == "again"


def test_what_continues_a_state(handmade: Path, tmp_path: Path):
    with _server(handmade, tmp_path) as (states, _):
        text = states.create("text", _ids(40), prompt="Once ")
        ids = states.create("ids", _ids(40), prompt=_ids(40).tolist())
        chat = states.create("chat", _ids(40), messages=[{"role": "user", "content": "a"}])
    assert text.text("upon") == "Once upon"
    assert ids.text([5]) == [*_ids(40).tolist(), 5]
    assert chat.conversation([{"role": "user", "content": "b"}])[1]["content"] == "b"
    for act in (
        lambda: text.conversation([]),
        lambda: chat.text("b"),
        lambda: text.text([5]),
        lambda: ids.text("b"),
    ):
        with pytest.raises(RequestError, match=r"the state '.*' is of"):
            act()
    own = _ids(40)
    text.require_beginning(np.append(own, 3))
    other = np.append(own, 3)
    other[7] += 1
    for wrong, where in ((other, "token 7 "), (own, "token 40 "), (own[:9], "token 9 ")):
        with pytest.raises(RequestError, match=where):
            text.require_beginning(wrong)


def test_a_state_that_nobody_waits_for_any_more(handmade: Path, tmp_path: Path):
    class Slow:
        """Ends a job when it is cancelled."""

        def submit(self, job: Job) -> None:
            def end() -> None:
                while not job.cancelled:
                    time.sleep(0.001)
                job.sink([Ended(End.CANCELLED)])

            threading.Thread(target=end).start()

    with _server(handmade, tmp_path) as (_, kept):
        states = NamedStates(kept, Slow(), MODEL)
        with pytest.raises(SalaError, match="cancelled"):
            states.create("a", _ids(60), prompt="x", cancelled=lambda: True)
        assert states.all() == []


def test_there_are_not_too_many(handmade: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(named_states, "MOST_STATES", 2)
    with _server(handmade, tmp_path) as (states, _):
        for name in "aba":
            states.create(name, _ids(40), prompt="x")
        with pytest.raises(RequestError, match="2 states already"):
            states.create("c", _ids(40), prompt="x")


def test_a_disk_that_refuses(handmade: Path, tmp_path: Path):
    with _server(handmade, tmp_path) as (states, _):
        states.create("a", _ids(40), prompt="x")
        (tmp_path / NAMED).rename(tmp_path / "gone")
        with pytest.raises(StateFileError, match="cannot be written"):
            states.create("b", _ids(40, 1), prompt="x")
        assert [each.id for each in states.all()] == ["a"]
