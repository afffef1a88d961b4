"""Reading: whatever is wrong is found before anything is used."""

import gc
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.artifact import (
    MANIFEST_NAME,
    PROGRAM_NAME,
    ArtifactWriter,
    Manifest,
    canonical_json,
    open_artifact,
    reader,
    write_artifact,
)
from sala_compile.runtime.artifact.format_model import canonical_document
from sala_compile.runtime.artifact.manifest import MAJOR, MINOR
from sala_compile.runtime.artifact.processor import missing_instructions
from sala_compile.runtime.artifact.writer import sign
from sala_compile.runtime.errors import ArtifactError
from sala_compile.runtime.verify import verify_artifact
from tests.support.handmade import LIBRARY, expected_logits, fill, tiny_program, write_handmade
from tests.support.tokenizers import byte_level

WEIGHTS = "weights-00001.safetensors"


@pytest.fixture
def copy(handmade: Path, tmp_path: Path) -> Path:
    """An artifact that a test may damage."""
    return Path(shutil.copytree(handmade, tmp_path / "copy.sala"))


def _edit(
    directory: Path, change: Callable[[dict[str, Any]], None], *, signed: bool = True
) -> None:
    path = directory / MANIFEST_NAME
    data = json.loads(path.read_bytes())
    change(data)
    if signed:
        path.write_bytes(canonical_json(sign(Manifest.model_validate(data))))
    else:
        path.write_text(json.dumps(data))


def _edit_program(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change program.json and make the manifest agree, as a hostile author would."""
    path = directory / PROGRAM_NAME
    data = json.loads(path.read_bytes())
    change(data)
    text = json.dumps(data).encode()
    path.write_bytes(text)
    digest = hashlib.sha256(text).hexdigest()
    entry = {"size": len(text), "sha256": digest}
    _edit(directory, lambda manifest: manifest["files"].update({PROGRAM_NAME: entry}))


def test_a_whole_artifact_opens(handmade: Path):
    artifact = open_artifact(handmade, hash_weights=True)
    assert artifact.program == tiny_program()
    assert artifact.weight_bytes == (handmade / WEIGHTS).stat().st_size
    assert artifact.golden().sequences[0].name == "short"


@pytest.mark.parametrize("name", [MANIFEST_NAME, PROGRAM_NAME, LIBRARY, WEIGHTS, "golden.json"])
def test_a_flipped_byte_is_found(copy: Path, name: str):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(ArtifactError):
        open_artifact(copy, hash_weights=True)


def test_weights_are_hashed_by_default_unless_they_are_large(copy: Path, monkeypatch):
    data = bytearray((copy / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (copy / WEIGHTS).write_bytes(data)
    with pytest.raises(ArtifactError, match="damaged"):
        open_artifact(copy)
    monkeypatch.setattr(reader, "HASHED_WEIGHTS", len(data) - 1)
    open_artifact(copy)


@pytest.mark.parametrize("name", [MANIFEST_NAME, PROGRAM_NAME, LIBRARY, WEIGHTS])
@pytest.mark.parametrize("kept", [0, 1, 0.5, -2])
def test_truncation_is_found(copy: Path, name: str, kept: float):
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: int(len(data) * kept) if kept == 0.5 else int(kept)])
    with pytest.raises(ArtifactError):
        open_artifact(copy)


@pytest.mark.parametrize("name", [MANIFEST_NAME, PROGRAM_NAME, LIBRARY, WEIGHTS])
def test_a_missing_file_is_named(copy: Path, name: str):
    (copy / name).unlink()
    with pytest.raises(ArtifactError) as caught:
        open_artifact(copy)
    assert name in str(caught.value)


def test_another_major_version_names_both(copy: Path):
    def newer(manifest: dict[str, Any]) -> None:
        manifest["format"] = {"major": 7, "minor": 2}
        manifest["surprise"] = 1

    _edit(copy, newer, signed=False)
    with pytest.raises(
        ArtifactError, match=rf"format 7\.2, this runtime reads format {MAJOR}\.{MINOR}"
    ) as caught:
        open_artifact(copy)
    assert caught.value.fix == "update the runtime"


def _newer(manifest: dict[str, Any]) -> None:
    """A later minor version with a field that this runtime does not know, and its digest."""
    manifest["format"]["minor"] = MINOR + 6
    manifest["surprise"] = 1
    manifest["digest"] = ""
    manifest["digest"] = hashlib.sha256(canonical_document(manifest)).hexdigest()


def test_a_newer_minor_version_with_new_fields_opens(copy: Path):
    _edit(copy, _newer, signed=False)
    assert open_artifact(copy).manifest.context == 64


@pytest.mark.parametrize("value", ["", "0" * 64])
def test_a_newer_minor_version_does_not_switch_the_digest_off(copy: Path, value: str):
    def changed(manifest: dict[str, Any]) -> None:
        _newer(manifest)
        manifest["context"] = 65

    _edit(copy, changed, signed=False)
    with pytest.raises(ArtifactError, match="digest"):
        open_artifact(copy)
    _edit(copy, lambda manifest: manifest.update(digest=value), signed=False)
    with pytest.raises(ArtifactError, match="digest"):
        open_artifact(copy)


@pytest.mark.parametrize("context", [64, 65])
def test_an_older_minor_version_without_new_fields_has_its_digest_checked(copy: Path, context: int):
    def older(manifest: dict[str, Any]) -> None:
        manifest["format"]["minor"] = 0
        for kernel in manifest["kernels"]:
            del kernel["spec"], kernel["schedule"]
        manifest["digest"] = ""
        manifest["digest"] = hashlib.sha256(canonical_document(manifest)).hexdigest()
        manifest["context"] = context

    _edit(copy, older, signed=False)
    if context == 64:
        assert open_artifact(copy).manifest.format.minor == 0
    else:
        with pytest.raises(ArtifactError, match="digest"):
            open_artifact(copy)


def test_unknown_fields_of_this_version_are_refused(copy: Path):
    _edit(copy, lambda manifest: manifest.update(surprise=1), signed=False)
    with pytest.raises(ArtifactError, match="surprise"):
        open_artifact(copy)


@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "lib/../../secret"])
def test_paths_that_leave_are_refused(copy: Path, path: str):
    (copy.parent / "secret").write_text("x")

    def leave(manifest: dict[str, Any]) -> None:
        manifest["files"][path] = {"size": 1, "sha256": "0" * 64}

    _edit(copy, leave)
    with pytest.raises(ArtifactError, match="leaves the artifact"):
        open_artifact(copy)


def test_what_was_checked_is_what_is_used(copy: Path, tmp_path: Path):
    """The artifact is replaced by another one after it was opened: nothing of that is ever seen."""
    artifact = open_artifact(copy)
    wanted = {name: artifact.read_bytes(name) for name in artifact.manifest.files}
    copy.rename(tmp_path / "moved.sala")
    write_handmade(copy, context=32)
    for name in artifact.manifest.files:
        (copy / name).write_bytes(b"something else")
    assert {name: artifact.read_bytes(name) for name in artifact.manifest.files} == wanted
    artifact.check_hashes()
    assert verify_artifact(artifact).passed


def test_a_loaded_model_runs_on_when_its_artifact_is_gone(copy: Path):
    with sala_compile.load(copy) as model:
        shutil.rmtree(copy)
        np.testing.assert_array_equal(model.logits([5, 4]), expected_logits([5, 4]))
        assert model.artifact.read_bytes(PROGRAM_NAME).startswith(b"{")


@pytest.mark.parametrize("name", ["golden.json", LIBRARY, WEIGHTS])
def test_bytes_that_change_in_place_are_noticed(copy: Path, name: str):
    artifact = open_artifact(copy)
    with (copy / name).open("r+b") as file:
        file.seek(20)
        file.write(b"changed")
    with pytest.raises(ArtifactError, match="the file is damaged") as caught:
        artifact.read_bytes(name)
    assert name in str(caught.value.where)


@pytest.mark.parametrize("name", [MANIFEST_NAME, PROGRAM_NAME, LIBRARY, WEIGHTS])
def test_pipes_and_directories_are_never_waited_for(copy: Path, name: str):
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(ArtifactError, match="not a regular file"):
        open_artifact(copy)
    (copy / name).unlink()
    (copy / name).mkdir()
    with pytest.raises(ArtifactError, match="not a regular file"):
        open_artifact(copy)


def test_every_descriptor_is_given_back(copy: Path):
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    artifact = open_artifact(copy)
    assert len(os.listdir("/proc/self/fd")) == before + len(artifact.manifest.files)
    del artifact
    (copy / WEIGHTS).unlink()
    with pytest.raises(ArtifactError):
        open_artifact(copy)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_many_artifacts_at_one_descriptor_each_have_their_own_library(copy: Path, tmp_path: Path):
    """The dynamic linker knows libraries by the names that they were opened by."""
    for number in range(3):
        place = Path(shutil.copytree(copy, tmp_path / f"{number}.sala"))
        with sala_compile.load(place) as model:
            np.testing.assert_array_equal(model.logits([5, 4]), expected_logits([5, 4]))
        del model
        gc.collect()
    maps = Path("/proc/self/maps").read_text()
    assert all(str(tmp_path / f"{number}.sala" / LIBRARY) in maps for number in range(3))


def test_links_are_refused(copy: Path, handmade: Path):
    (copy / LIBRARY).unlink()
    (copy / LIBRARY).symlink_to(handmade / LIBRARY)
    with pytest.raises(ArtifactError, match="is a link"):
        open_artifact(copy)
    shutil.rmtree(copy / "lib")
    (copy / "lib").symlink_to(handmade / "lib")
    with pytest.raises(ArtifactError, match="is a link"):
        open_artifact(copy)


@pytest.mark.parametrize("name", ["nothing.sala", "file"])
def test_no_artifact_at_all(tmp_path: Path, name: str):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtifactError, match="no artifact"):
        open_artifact(tmp_path / name)


def test_instructions_that_the_processor_lacks_are_named_before_loading(tmp_path: Path):
    def needing(writer: ArtifactWriter) -> Manifest:
        made = fill(writer)
        info = made.targets["cpu"].model_copy(update={"instructions": ("sse2", "avx9000")})
        return made.model_copy(update={"targets": {"cpu": info}})

    write_artifact(tmp_path / "a.sala", needing)
    with pytest.raises(ArtifactError, match="lacks instructions that the library needs: avx9000"):
        sala_compile.load(tmp_path / "a.sala")


def test_another_architecture_is_refused(tmp_path: Path):
    def foreign(writer: ArtifactWriter) -> Manifest:
        made = fill(writer)
        info = made.targets["cpu"].model_copy(update={"architecture": "riscv64"})
        return made.model_copy(update={"targets": {"cpu": info}})

    write_artifact(tmp_path / "a.sala", foreign)
    with pytest.raises(ArtifactError, match="riscv64"):
        sala_compile.load(tmp_path / "a.sala")


def test_another_ffi_version_is_refused(tmp_path: Path):
    write_handmade(tmp_path / "a.sala", versions={"apache-tvm-ffi": "0.0.1"})
    with pytest.raises(ArtifactError, match="is installed") as caught:
        sala_compile.load(tmp_path / "a.sala")
    assert "pip install apache-tvm-ffi==0.0.1" in str(caught.value)


def test_both_spellings_of_instructions_are_understood():
    flags = {"avx512_bf16", "pni", "sse4_1", "abm"}
    assert missing_instructions(["avx512bf16", "sse3", "sse4.1", "lzcnt"], flags) == []
    assert missing_instructions(["amx_tile", "avx512bf16"], flags) == ["amx_tile"]


def _set(*path: Any) -> Callable[[dict[str, Any]], None]:
    *keys, value = path

    def change(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return change


PREFILL = ("targets", "cpu", "phases", "prefill")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set(*PREFILL, "steps", 0, "arguments", 0, "nothing"), "unknown values: nothing"),
        (_set(*PREFILL, "live", {}), "outside of its live interval"),
        (_set(*PREFILL, "live", "hidden", [0, 5]), "not an interval"),
        (_set(*PREFILL, "live", "sum", [0, 0]), "does not live in the arena"),
        (_set("values", "sum", "shape", [4, 16]), "no part sum of pools.sum"),
        (_set("values", "hidden", "shape", [-1, 16]), "negative"),
        (_set("values", "extra", {"kind": "input", "dtype": "int32", "shape": []}), "extra"),
        (_set("values", "bias", "shape", [31]), r"bias is F32\[32\]"),
        (_set("values", "bias", "dtype", "uint16"), "bias is F32"),
        (_set("values", "hidden", "dtype", "complex"), "dtype"),
        (_set("logits", "nothing"), "nothing"),
        (_set("targets", "cpu", "library", "lib/other.so"), "disagree"),
        (_set("paging", "groups", "compressed", "tokens", 7), "no whole pages"),
        (_set("observable", "hidden", 0, "values", "value", "no"), "unknown values: no"),
    ],
)
def test_a_program_that_does_not_fit_is_refused(
    copy: Path, change: Callable[[dict[str, Any]], None], message: str
):
    _edit_program(copy, change)
    with pytest.raises(ArtifactError, match=message):
        open_artifact(copy)


def test_absurd_sizes_are_refused_before_allocation(copy: Path):
    huge = [{"terms": [[1 << 50, ["tokens"]]]}, 16]
    _edit_program(copy, _set("values", "hidden", "shape", huge))
    with pytest.raises(ArtifactError, match="hidden has the shape"):
        sala_compile.load(copy)
    negative = [{"terms": [[-1, ["tokens"]]]}, 16]
    _edit_program(copy, _set("values", "hidden", "shape", negative))
    with pytest.raises(ArtifactError, match="hidden has the shape"):
        sala_compile.load(copy)


def test_a_kernel_that_the_library_lacks_is_named(copy: Path):
    _edit_program(copy, _set(*PREFILL, "steps", 0, "kernel", "tiny_other"))
    with pytest.raises(ArtifactError, match="no kernel tiny_other"):
        sala_compile.load(copy)


def _with_tokenizer(directory: Path, words: str) -> Path:
    """The artifact with a tokenizer that spells these letters."""

    def fill_all(writer: ArtifactWriter) -> Manifest:
        made = fill(writer)
        writer.write_bytes("tokenizer.json", byte_level([(words[0], words[1])]).to_str().encode())
        return made

    write_artifact(directory, fill_all)
    return directory


def test_a_tokenizer_that_is_replaced_after_loading_is_never_seen(tmp_path: Path):
    place = _with_tokenizer(tmp_path / "a.sala", "ab")
    with sala_compile.load(place) as model:
        wanted = open_artifact(place).read_bytes("tokenizer.json")
        place.rename(tmp_path / "moved.sala")
        _with_tokenizer(place, "xy")
        assert model.artifact.read_bytes("tokenizer.json") == wanted
        assert len(model.tokenizer.encode("ab")) < len(model.tokenizer.encode("xy"))


def test_a_tokenizer_that_changes_in_place_after_loading_is_noticed(tmp_path: Path):
    place = _with_tokenizer(tmp_path / "a.sala", "ab")
    other = byte_level([("x", "y")]).to_str().encode()
    with sala_compile.load(place) as model:
        (place / "tokenizer.json").write_bytes(other)
        with pytest.raises(ArtifactError, match="the file is damaged"):
            model.tokenizer  # noqa: B018
