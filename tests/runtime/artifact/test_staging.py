"""What writers leave beside their target: nothing of the dead, everything of the living."""

import errno
import fcntl
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from sala_compile.runtime.artifact import staging, write_artifact
from sala_compile.runtime.artifact.replace import write_whole
from sala_compile.runtime.artifact.staging import PREVIOUS, staged_directory, staged_file
from sala_compile.runtime.state.state_file import StateHeader, StateSection, replacing
from tests.support.handmade import write_handmade

HOLDING = """
import os, sys, pathlib
from contextlib import nullcontext
from sala_compile.runtime.artifact.staging import PREVIOUS, staged_directory, staged_file
target = pathlib.Path(sys.argv[1])
with (staged_directory if sys.argv[2] == "directory" else staged_file)(target) as path:
    if path.is_dir():
        (path / "new").mkdir()
        (path / "new" / "weights").write_text("x")
    print("ready", flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), 9)
"""
HEADER = StateHeader(
    model="0" * 64,
    family="tiny",
    tokens=1,
    spans=((1, "dense"),),
    has_logits=False,
    sections=(StateSection(name="ids", dtype="int32", shape=(1,), offset=0, nbytes=4),),
)


@contextmanager
def writer(target: Path, kind: str) -> Iterator[Path]:
    """A living process in the middle of writing, which is killed at the end of the block."""
    before = set(target.parent.iterdir())
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(target), kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    with process:
        assert process.stdout.readline() == b"ready\n"
        (made,) = set(target.parent.iterdir()) - before
        yield made
        process.stdin.close()
        assert process.wait() == -9


def save(target: Path) -> None:
    with replacing(target, HEADER) as sections:
        sections.write([b"1234"])


def test_the_next_compilation_removes_what_a_killed_one_left(tmp_path: Path):
    target = tmp_path / "a.sala"
    with writer(target, "directory") as living:
        write_handmade(target)
        assert (living / "new" / "weights").exists()
    assert living.is_dir()
    write_handmade(target, context=32)
    assert os.listdir(tmp_path) == ["a.sala"]


def test_the_next_save_removes_what_a_killed_one_left(tmp_path: Path):
    target = tmp_path / "a.sala-state"
    with writer(target, "file") as living:
        save(target)
        assert living.exists()
    assert living.exists()
    save(target)
    assert os.listdir(tmp_path) == ["a.sala-state"]
    assert target.stat().st_mode & 0o777 == 0o600


def test_nothing_else_is_removed(tmp_path: Path):
    """Other targets, other names, links, and what a newer version may make."""
    target = tmp_path / "a.sala"
    with writer(tmp_path / "a.sala.b", "file") as other:
        pass
    kept = {other.name}
    for name in (".a.sala.partial", ".a.sala.0123456.partial", ".a.sala.01234567", ".a.sala.xyz"):
        (tmp_path / name).write_text("mine")
        kept.add(name)
    (tmp_path / ".a.sala.89abcdef.partial").symlink_to(tmp_path / ".a.sala.xyz")
    write_handmade(target)
    assert set(os.listdir(tmp_path)) == {"a.sala", ".a.sala.89abcdef.partial"} | kept


def test_a_writer_of_the_same_process_lives(tmp_path: Path):
    target = tmp_path / "a"
    with staged_file(target) as first, staged_directory(target) as second:
        write_whole(target, b"x")
        assert first.exists()
        assert second.exists()
    assert os.listdir(tmp_path) == ["a"]


def test_an_artifact_that_was_moved_aside_returns(tmp_path: Path):
    """Where names cannot be exchanged and the writer was killed between its two moves."""
    target = write_handmade(tmp_path / "a.sala")
    with writer(target, "directory") as staged:
        target.rename(staged / PREVIOUS)
    assert not target.exists()

    def broken(_: object) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write_artifact(target, broken)
    assert (target / "manifest.json").is_file()
    assert os.listdir(tmp_path) == ["a.sala"]


def test_a_leftover_that_cannot_be_removed_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    target = tmp_path / "a"
    with writer(target, "file") as left:
        pass

    def locked(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", locked)
    write_whole(target, b"x")
    assert target.read_bytes() == b"x"
    assert left.exists()


@pytest.mark.parametrize("kind", [staged_directory, staged_file])
def test_a_signal_at_any_place_leaves_nothing(
    tmp_path: Path, kind: Any, request: pytest.FixtureRequest
) -> None:
    """A signal's handler may raise between any two lines, also before the block is entered."""
    gc.freeze()  # What other tests left is not looked through again for every line.
    request.addfinalizer(gc.unfreeze)
    for place in count():
        lines = iter(range(place))

        def watch(frame: FrameType, event: str, _: Any, lines: Iterator[int] = lines) -> Any:
            if frame.f_code.co_filename != staging.__file__:
                return None
            if event == "line" and next(lines, None) is None:
                sys.settrace(None)
                raise SystemExit
            return watch

        entered = False
        sys.settrace(watch)
        try:
            with kind(tmp_path / "target"):
                entered = True
                sys.settrace(None)
        except SystemExit:
            pass
        finally:
            sys.settrace(None)
        gc.collect()
        left = list(tmp_path.iterdir())
        assert not left, f"after a signal at line {place} that was run"
        if entered:
            break
    assert place > 15
