"""Programs and manifests that somebody changed who repaired the hashes, but not the library."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sala_compile
from sala_compile.runtime.artifact import PROGRAM_NAME, open_artifact
from sala_compile.runtime.errors import ArtifactError, SalaError
from sala_compile.runtime.verify import verify_artifact
from tests.support.repaired import edit, put, repair

MANIFEST = "manifest.json"
PREFILL = ("targets", "cpu", "phases", "prefill")
GROUPS = ("paging", "groups")
KEYS = ("pools", "layers.0.kv_cache", "parts", 0)
ONE = {"terms": [[1, []]]}
"""A dim that is 1 whatever is loaded."""


@pytest.fixture
def copy(compiled: Callable[[str], Path], tmp_path: Path) -> Path:
    """A compiled artifact that a test may change."""
    return Path(shutil.copytree(compiled("float32"), tmp_path / "copy.sala"))


def _refused(directory: Path, message: str) -> None:
    with (
        pytest.raises(ArtifactError, match=message),
        sala_compile.load(directory, context=128) as model,
    ):
        model.logits(list(range(100)))
    with pytest.raises(SalaError):
        verify_artifact(directory)


def _activation(program: dict[str, Any], phase: str) -> str:
    """An activation that only one phase has."""
    names = program["values"]
    return next(n for n, v in names.items() if v["kind"] == "activation" and phase in n)


def _first_dim(phase: str, dim: Any) -> Callable[[Any], None]:
    def change(program: Any) -> None:
        name = "hidden" if phase == "hidden" else _activation(program, phase)
        program["values"][name]["shape"][0] = dim

    return change


@pytest.mark.parametrize("phase", ["prefill", "decode", "hidden"])
@pytest.mark.parametrize(
    "dim", [1, ONE, {"terms": [[1, ["logit_rows"]]]}, {"terms": [[1, ["workers"]]]}]
)
def test_activations_of_other_rows_are_refused(copy: Path, phase: str, dim: Any) -> None:
    edit(copy, PROGRAM_NAME, _first_dim(phase, dim))
    _refused(copy, r"has the shape \[")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("values", "slots", "shape", [1]), r"slots has the shape \[1\]"),
        (put("values", "page_table", "shape", [{"terms": [[1, ["slots"]]]}, 1]), "page_table has"),
        (put("values", "control", "shape", [4]), r"control has the shape \[4\]"),
        (put("values", "tokens", "shape", [{"terms": [[1, ["sequences"]]]}]), "tokens has"),
        (put("values", "logits", "shape", 1, 100), r"model.vocabulary: .* logits has 100"),
        (put("values", "logits", "dtype", "int8"), "logits has the shape"),
        (put("values", "layers.0.kv_cache.k", "shape", 3, 8), "layers.0.kv_cache.k has"),
        (put("values", "layers.0.kv_cache.k", "shape", 0, {"terms": [[1, ["slots"]]]}), "program"),
        (put("values", "layers.0.compressed_keys.fine", "shape", 3, 7), "fine has a shape"),
        (put("paging", "page_tokens", 32), "no whole pages of 32"),
        (put("paging", "page_tokens", 8), "compiled for"),
        (put(*GROUPS, "kv", "tokens", 32), "kv_cache.* has a shape that no part"),
        (put(*GROUPS, "compressed", "tokens", 2048), "compressed_keys.* has a shape that no part"),
        (put(*GROUPS, "compressed", "table", "page_table"), "two page groups have one table"),
        (put(*KEYS, "stride", 3), "no whole entries in a page"),
        (put(*KEYS, "row", [2, 17]), "kv_cache.k has a shape that no part"),
        (put(*KEYS, "stored", {}), "program"),
        (put(*KEYS, "stored", {"layers.0.kv_cache.k": [1, 2, 0, 3]}), "kv_cache.k has a shape"),
        (put(*KEYS, "stored", {"layers.0.kv_cache.k": [1, 2, 0]}), "kv_cache.k has a shape"),
        (put(*KEYS, "stored", {"slots": [1, 2, 0, 2]}), "names the unknown value slots"),
        (put("pools", {}), "is in none of the pools"),
        (put("pools", "layers.0.kv_cache", "group", "none"), "which there is none of"),
        (put("pools", "layers.0.kv_cache", "group", None), "has a shape that no part"),
        (put("paths", []), "program"),
        (put("paths", 0, "first_length", 1), "do not ascend from 0"),
        (put("paths", 1, "name", "dense"), "two paths have one name"),
        (put(*PREFILL, "steps", []), "live|compiled for"),
        (put(*PREFILL, "steps", 0, "arguments", 0, "slots"), "compiled for"),
        (put("observable", {}), "compiled for"),
    ],
)
def test_programs_of_other_shapes_are_refused(
    copy: Path, change: Callable[[Any], None], message: str
) -> None:
    edit(copy, PROGRAM_NAME, change)
    _refused(copy, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("model", "vocabulary", 10**6), "model.vocabulary: there are 1000000 token ids"),
        (put("model", "vocabulary", 2**31), "vocabulary"),
        (put("model", "vocabulary", 3), "model.vocabulary is not that of the library"),
        (put("targets", "cpu", "instructions", []), "the instructions of the target are not"),
        (put("context", 2**31), "context"),
        (put("chunk", 10**30), "chunk"),
    ],
)
def test_manifests_of_other_sizes_are_refused(
    copy: Path, change: Callable[[Any], None], message: str
) -> None:
    edit(copy, MANIFEST, change)
    _refused(copy, message)


def test_every_change_of_the_program_is_noticed(copy: Path) -> None:
    """What says nothing to the checks of shapes says it to the library: one space is enough."""
    path = copy / PROGRAM_NAME
    path.write_bytes(path.read_bytes() + b" ")
    repair(copy)
    assert open_artifact(copy).program.logits == "logits"
    _refused(copy, "program.json is not the program that the library was compiled for")


@pytest.mark.parametrize("name", [PROGRAM_NAME, MANIFEST])
@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"format": {"major": ' + b"9" * 5000 + b', "minor": 1}}',
        b'{"format": {"major": 1, "minor": 1e400}}',
        b"\xff\xfe",
        b'{"format": 1, "format": 2}',
        b"[[]," * 500_000,
    ],
    ids=range(10),
)
def test_what_is_no_document_is_one_error(copy: Path, name: str, text: bytes) -> None:
    (copy / name).write_bytes(text)
    if name != MANIFEST:
        repair(copy)
    with pytest.raises(ArtifactError):
        open_artifact(copy)
