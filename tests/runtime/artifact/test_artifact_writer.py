"""Writing: deterministic, complete or not at all."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from sala_compile.runtime.artifact import (
    ArtifactWriter,
    Manifest,
    open_artifact,
    replace,
    write_artifact,
)
from sala_compile.runtime.errors import ArtifactError
from tests.support.handmade import fill, manifest, write_handmade


def _contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_writing_twice_gives_identical_bytes(tmp_path: Path):
    first, second = write_handmade(tmp_path / "a.sala"), write_handmade(tmp_path / "b.sala")
    assert _contents(first) == _contents(second)


def test_an_earlier_artifact_is_replaced_whole(tmp_path: Path):
    target = write_handmade(tmp_path / "a.sala")
    (target / "golden.json").unlink()
    write_handmade(target, context=32)
    assert open_artifact(target).manifest.context == 32
    assert (target / "golden.json").exists()
    assert os.listdir(tmp_path) == ["a.sala"]


def test_a_file_system_without_exchange_moves_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    target = write_handmade(tmp_path / "a.sala")
    monkeypatch.setattr(replace, "_exchange", lambda *_: False)
    write_handmade(target, context=32)
    assert open_artifact(target).manifest.context == 32
    assert os.listdir(tmp_path) == ["a.sala"]


def test_a_failed_second_move_is_rolled_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target = write_handmade(tmp_path / "a.sala")
    before = _contents(target)
    monkeypatch.setattr(replace, "_exchange", lambda *_: False)
    rename = Path.rename

    def failing(self: Path, other: Path) -> Path:
        if self.name == "new":
            raise OSError(errno.EIO, "broken", str(self))
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(ArtifactError, match="cannot be written"):
        write_handmade(target, context=32)
    assert _contents(target) == before
    assert os.listdir(tmp_path) == ["a.sala"]


@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt()], ids=["error", "^C"])
def test_an_interrupted_compilation_leaves_nothing(tmp_path: Path, error: BaseException):
    target = write_handmade(tmp_path / "a.sala")
    before = _contents(target)

    def broken(writer: ArtifactWriter) -> Manifest:
        fill(writer)
        raise error

    for directory in (target, tmp_path / "b.sala"):
        with pytest.raises(type(error)):
            write_artifact(directory, broken)
    assert _contents(target) == before
    assert os.listdir(tmp_path) == ["a.sala"]


def _out_of_space(tmp_path: Path) -> Path:
    target = write_handmade(tmp_path / "a.sala")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(ArtifactError) as caught:
            write_handmade(target, context=32)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot be written: File too large" in str(caught.value)
    return target


def test_a_full_disk_is_one_clear_error(tmp_path: Path):
    target = _out_of_space(tmp_path)
    assert open_artifact(target).manifest.context == 64
    assert os.listdir(tmp_path) == ["a.sala"]


def test_a_killed_writer_leaves_the_old_artifact(tmp_path: Path):
    target = write_handmade(tmp_path / "a.sala")
    script = (
        "import os, sys, pathlib\n"
        "from sala_compile.runtime.artifact import write_artifact\n"
        "def fill(writer):\n"
        "    writer.write_bytes('model.mlir', b'x')\n"
        "    os.kill(os.getpid(), 9)\n"
        "write_artifact(pathlib.Path(sys.argv[1]), fill)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(target)]).returncode == -9
    assert open_artifact(target).manifest.context == 64


def test_what_is_no_artifact_is_not_replaced(tmp_path: Path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "love.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(write_handmade(tmp_path / "a.sala"))
    for name, found in (
        ("letters", "not an artifact"),
        ("file", "not an artifact"),
        ("link", "is a symbolic link"),
    ):
        with pytest.raises(ArtifactError, match=found):
            write_handmade(tmp_path / name)
    assert (tmp_path / "letters" / "love.txt").read_text() == "x"


def test_an_empty_directory_is_filled(tmp_path: Path):
    (tmp_path / "a.sala").mkdir()
    assert open_artifact(write_handmade(tmp_path / "a.sala"))


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "", ".", "a//b", "a\\b", "./a"])
def test_paths_that_leave_are_refused(tmp_path: Path, path: str):
    def leaving(writer: ArtifactWriter) -> Manifest:
        writer.write_bytes(path, b"x")
        return manifest()

    with pytest.raises(ArtifactError, match="leaves the artifact"):
        write_artifact(tmp_path / "a.sala", leaving)
    assert os.listdir(tmp_path) == []
