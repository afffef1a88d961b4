"""An artifact takes the place of nothing but an artifact, and says so before the work."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sala_compile.runtime.artifact import ArtifactWriter, Manifest, open_artifact, write_artifact
from sala_compile.runtime.artifact.owned import require_replaceable
from sala_compile.runtime.artifact.writer import check_output
from sala_compile.runtime.errors import ArtifactError
from tests.support.handmade import write_handmade

EXTENSION = {"manifest_version": 3, "name": "an extension", "version": "1.0"}
"""What browsers call manifest.json."""


def _tree(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def _never(writer: ArtifactWriter) -> Manifest:
    raise AssertionError("refused before the work")


def _refusal(directory: Path) -> ArtifactError:
    """The one error of the question before the work, and of the work."""
    with pytest.raises(ArtifactError) as caught:
        check_output(directory)
    with pytest.raises(ArtifactError) as again:
        write_artifact(directory, _never)
    assert str(again.value) == str(caught.value)
    assert caught.value.fix is not None
    return caught.value


def _webapp(directory: Path) -> Path:
    directory.mkdir()
    (directory / "manifest.json").write_text(json.dumps(EXTENSION))
    (directory / "photos").mkdir()
    (directory / "photos" / "child.jpg").write_bytes(b"once in a lifetime")
    return directory


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(EXTENSION),
        json.dumps({"files": {"a": "b"}, "format": 1, "digest": ""}),
        json.dumps({"format": {"major": 1, "minor": 0}, "files": {}}),
        "[]",
        "",
        "{" * 100_000,
        "\0" * 100,
    ],
)
def test_a_foreign_manifest_is_no_artifact(tmp_path: Path, text: str):
    place = _webapp(tmp_path / "app")
    (place / "manifest.json").write_text(text)
    before = _tree(place)
    assert "exists and is not an artifact: it holds manifest.json" in _refusal(place).found
    assert _tree(place) == before


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda place: (place / "notes.txt").write_text("x"), "notes.txt"),
        (lambda place: (place / ".git").mkdir(), ".git/"),
        (lambda place: (place / "lib" / "mine.so").write_text("x"), "lib/mine.so"),
        (lambda place: (place / "a" / "b").mkdir(parents=True), "a/b/"),
        (lambda place: os.mkfifo(place / "pipe"), "pipe (no regular file)"),
        (lambda place: (place / "link").symlink_to("/"), "link (no regular file)"),
    ],
)
def test_what_else_an_artifact_holds_is_kept_and_named(
    tmp_path: Path, make: Callable[[Path], object], named: str
):
    place = write_handmade(tmp_path / "a.sala")
    make(place)
    assert f"it holds {named} as well" in _refusal(place).found
    assert open_artifact(place)


def test_a_link_in_the_place_of_a_listed_file_is_kept(tmp_path: Path):
    place = write_handmade(tmp_path / "a.sala")
    (tmp_path / "golden.json").write_text("mine")
    (place / "golden.json").unlink()
    (place / "golden.json").symlink_to(tmp_path / "golden.json")
    assert "golden.json (no regular file)" in _refusal(place).found


def test_many_other_files_are_counted(tmp_path: Path):
    place = write_handmade(tmp_path / "a.sala")
    for number in range(10):
        (place / f"{number}").touch()
    assert "it holds 0, 1, 2 and 7 more as well" in _refusal(place).found


def test_an_artifact_with_damaged_and_missing_files_is_replaced(tmp_path: Path):
    place = write_handmade(tmp_path / "a.sala")
    (place / "program.json").write_bytes(b"")
    (place / "golden.json").unlink()
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["format"]["major"] += 1
    manifest["something"] = "of a newer version"
    (place / "manifest.json").write_text(json.dumps(manifest))
    check_output(place)
    write_handmade(place, context=32)
    assert open_artifact(place).manifest.context == 32


def test_a_link_is_not_followed(tmp_path: Path):
    place = write_handmade(tmp_path / "a.sala")
    (tmp_path / "link").symlink_to(place)
    (tmp_path / "dangling").symlink_to("nowhere")
    error = _refusal(tmp_path / "link")
    assert "is a symbolic link" in error.found
    assert str(place) in str(error.fix)
    assert "is a symbolic link" in _refusal(tmp_path / "dangling").found
    assert (tmp_path / "link").is_symlink()


def test_the_current_directory_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = write_handmade(tmp_path / "a.sala")
    for below in (place, place / "lib"):
        monkeypatch.chdir(below)
        assert "current directory" in _refusal(place).found
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert "current directory" in _refusal(Path()).found


def test_a_mount_point_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = write_handmade(tmp_path / "a.sala")
    assert "is a mount point" in _refusal(Path("/proc")).found
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "lib")
    assert "lib/ (a mount point)" in _refusal(place).found


def test_what_came_during_the_work_is_kept(tmp_path: Path):
    place = write_handmade(tmp_path / "a.sala")

    def slow(writer: ArtifactWriter) -> Manifest:
        (place / "notes.txt").write_text("x")
        writer.write_bytes("model.mlir", b"x")
        return open_artifact(place).manifest

    with pytest.raises(ArtifactError, match=r"it holds notes\.txt as well"):
        write_artifact(place, slow)
    assert (place / "notes.txt").read_text() == "x"
    assert os.listdir(tmp_path) == ["a.sala"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("x" * 256, "File name too long"),
        ("a\0b", "NUL"),
        ("file/below", "Not a directory"),
        ("/proc/a.sala", "cannot be written"),
        ("/dev/null", "not an artifact"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before(tmp_path: Path, name: str, found: str):
    (tmp_path / "file").write_text("x")
    error = _refusal(Path(f"{tmp_path}/{name}" if name[0] != "/" else name))
    assert found in error.found
    assert len(str(error)) < 1000
    assert os.listdir(tmp_path) == ["file"]


def test_asking_changes_nothing(tmp_path: Path):
    place = tmp_path / "new" / "below" / "a.sala"
    check_output(place)
    assert os.listdir(tmp_path) == []
    require_replaceable(place)
    write_handmade(place)
    check_output(place)
    assert open_artifact(place)


def test_a_name_that_leaves_no_room_for_a_staged_one_is_taken(tmp_path: Path):
    name = "a" * 250 + ".sala"
    for context in (64, 32):
        write_handmade(tmp_path / name, context=context)
        assert open_artifact(tmp_path / name).manifest.context == context
    assert os.listdir(tmp_path) == [name]


def test_space_is_counted_before_the_work(tmp_path: Path):
    free = shutil.disk_usage(tmp_path).free
    check_output(tmp_path / "a.sala", 1)
    with pytest.raises(ArtifactError, match="are free") as caught:
        check_output(tmp_path / "a.sala", 4 * free)
    assert str(4 * free) in str(caught.value.expected)
    assert os.listdir(tmp_path) == []
