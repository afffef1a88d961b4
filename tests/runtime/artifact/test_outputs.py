"""Files that commands write: refused before the work, whole or as before after it."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from sala_compile.runtime.artifact import replace
from sala_compile.runtime.artifact.outputs import OutputRule
from sala_compile.runtime.errors import RequestError, StateFileError
from sala_compile.runtime.state.state_file import MAGIC, check_state_output

RULE = OutputRule(what="the plot")


def _refusal(path: Path | str, rule: OutputRule = RULE, room: int = 0) -> RequestError:
    with pytest.raises(RequestError) as caught:
        rule.check(path, room)
    assert caught.value.found.startswith("the plot ")
    return caught.value


def test_a_file_is_made_and_replaced(tmp_path: Path):
    path = tmp_path / "a.svg"
    RULE.check(path)
    assert os.listdir(tmp_path) == []
    for data in (b"one", b"two"):
        RULE.write(path, data)
        assert path.read_bytes() == data
    assert os.listdir(tmp_path) == ["a.svg"]


def test_the_file_behind_a_link_is_written_and_the_link_stays(tmp_path: Path):
    (tmp_path / "far").mkdir()
    (tmp_path / "a.svg").symlink_to("far/b.svg")
    for data in (b"new", b"again"):
        assert RULE.check(tmp_path / "a.svg") == tmp_path / "far" / "b.svg"
        RULE.write(tmp_path / "a.svg", data)
        assert (tmp_path / "a.svg").is_symlink()
        assert (tmp_path / "far" / "b.svg").read_bytes() == data


def test_a_state_goes_behind_a_link_too(tmp_path: Path):
    (tmp_path / "state").symlink_to("real")
    (tmp_path / "real").write_bytes(MAGIC + b"rest")
    assert check_state_output(tmp_path / "state") == tmp_path / "real"
    (tmp_path / "real").write_bytes(b"a diary")
    with pytest.raises(StateFileError, match="is not a state file"):
        check_state_output(tmp_path / "state")


def test_a_file_keeps_its_mode(tmp_path: Path):
    path = tmp_path / "a.svg"
    path.touch(0o640)
    path.chmod(0o640)
    RULE.write(path, b"x")
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_device_is_never_replaced(tmp_path: Path):
    (tmp_path / "null").symlink_to("/dev/null")
    for path in ("/dev/null", tmp_path / "null"):
        assert "a character device is there" in _refusal(path).found
        with pytest.raises(RequestError, match="is there"):
            RULE.write(path, b"x")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("folder", "a directory is there"),
        ("pipe", "a pipe is there"),
        ("absent/a.svg", "there is no directory"),
        ("file/a.svg", "there is no directory"),
        ("round", "round in a circle"),
        ("a\0b", "a NUL byte"),
        ("x" * 256, "has a name of 256 bytes, which is too long"),
    ],
)
def test_a_place_where_no_file_can_be_is_refused_before(tmp_path: Path, name: str, found: str):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x")
    (tmp_path / "round").symlink_to("round")
    before = sorted(os.listdir(tmp_path))
    error = _refusal(f"{tmp_path}/{name}")
    assert found in error.found
    assert len(str(error)) < 1000
    assert sorted(os.listdir(tmp_path)) == before


def test_a_protected_file_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.svg"
    path.write_bytes(b"x")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write whatever is protected
    assert "read-only" in _refusal(path).found


def test_space_is_counted_before(tmp_path: Path):
    free = shutil.disk_usage(tmp_path).free
    error = _refusal(tmp_path / "a.svg", room=4 * free)
    assert "are free" in error.found
    assert error.expected == f"{4 * free} bytes of free space"


def _fsync_failing(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Every fsync of a directory fails so."""
    fsync = os.fsync

    def failing(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_directory_that_fails_to_sync_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes | None
):
    path = tmp_path / "a.svg"
    if before is not None:
        path.write_bytes(before)
    _fsync_failing(monkeypatch, errno.EIO)
    with pytest.raises(RequestError, match="cannot be written: Input/output error") as caught:
        RULE.write(path, b"new")
    assert "what was there is as it was" in str(caught.value.expected)
    assert (path.read_bytes() if path.exists() else None) == before
    assert len(os.listdir(tmp_path)) == (before is not None)


def test_where_nothing_can_be_undone_the_message_says_what_stands_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "a.svg"
    path.write_bytes(b"old")
    _fsync_failing(monkeypatch, errno.EIO)
    monkeypatch.setattr(replace, "_exchange", lambda *_: False)
    with pytest.raises(RequestError, match="the plot is there, but its directory cannot be"):
        RULE.write(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_never_syncs_directories_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
):
    _fsync_failing(monkeypatch, code)
    RULE.write(tmp_path / "a.svg", b"new")
    assert (tmp_path / "a.svg").read_bytes() == b"new"


def test_a_directory_that_may_not_be_listed_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    opened = os.open

    def closed(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_DIRECTORY:
            raise PermissionError(errno.EACCES, "no", str(path))
        return opened(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", closed)
    RULE.write(tmp_path / "a.svg", b"new")
    assert (tmp_path / "a.svg").read_bytes() == b"new"
