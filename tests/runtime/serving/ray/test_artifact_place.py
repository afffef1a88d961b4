"""Artifacts at URLs: copied to a node once, and only if every file is the manifest's."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

import sala_compile
from sala_compile.runtime.errors import ArtifactError
from sala_compile.runtime.serving.kept.url_files import UrlFiles
from sala_compile.runtime.serving.ray import artifact_place
from sala_compile.runtime.serving.ray.artifact_place import CACHE, local_artifact
from sala_compile.runtime.serving.ray.shared_place import absolute_place, shared_url

fsspec = pytest.importorskip("fsspec", reason="the extra [ray] is not installed")


@pytest.fixture
def url(talking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The artifact in an object store, and an empty directory of copies."""
    monkeypatch.setenv(CACHE, str(tmp_path / "copies"))
    place = f"memory://{uuid4().hex}/talk.sala"
    memory = fsspec.filesystem("memory")
    memory.put(str(talking), place.removeprefix("memory:/"), recursive=True)
    yield place
    memory.store.clear()


def test_an_artifact_by_url_is_copied_once(url: str, monkeypatch: pytest.MonkeyPatch):
    path = local_artifact(url)
    assert path.name == "talk.sala"
    with sala_compile.load(path, hash_weights=True) as model:
        assert len(model.generate([5, 4], 3, ignore_eos=True)) == 3

    def again(*arguments: object) -> None:
        raise AssertionError("it is there")

    monkeypatch.setattr(artifact_place, "_fetch", again)
    assert local_artifact(url) == path


@pytest.mark.parametrize("change", ["flip", "cut", "grow"])
def test_a_file_with_other_contents_is_refused(url: str, change: str, tmp_path: Path):
    files = UrlFiles(url)
    data = bytearray(files.read("weights-00001.safetensors"))
    if change == "flip":
        data[-1] ^= 1
    changed = {"flip": data, "cut": data[:-1], "grow": data + b"x"}[change]
    files.write("weights-00001.safetensors", bytes(changed))
    with pytest.raises(ArtifactError, match="does not have the contents") as caught:
        local_artifact(url)
    assert "weights-00001" in (caught.value.where or "")
    left = [path for path in (tmp_path / "copies").rglob("*") if path.is_file()]
    assert [path.name for path in left] == ["copy.lock"]


def test_a_url_without_an_artifact_is_refused(url: str):
    with pytest.raises(ArtifactError, match="there is no artifact"):
        local_artifact(f"memory://{uuid4().hex}/none.sala")
    assert local_artifact("some/path.sala") == Path("some/path.sala")


def test_places_are_those_of_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_place("a.sala") == str(tmp_path / "a.sala")
    assert absolute_place("s3://b/a.sala") == "s3://b/a.sala"
    assert shared_url(None) is None
    assert shared_url("s3://b/c") == "s3://b/c"
    assert shared_url("c") == f"file://{tmp_path}/c"
