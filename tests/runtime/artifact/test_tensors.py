"""Padded safetensors: streaming, alignment, interoperation, damaged headers."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from sala_compile.runtime.artifact.mapped_tensors import MappedTensors, read_header
from sala_compile.runtime.artifact.opened import OpenFile
from sala_compile.runtime.common.safetensors_format import TensorSpec
from sala_compile.runtime.common.safetensors_writer import TensorWriter
from sala_compile.runtime.errors import ArtifactError

SPECS = [
    TensorSpec("odd", "F32", (3, 5)),
    TensorSpec("none", "F32", (0, 4)),
    TensorSpec("half", "BF16", (64,)),
    TensorSpec("byte", "U8", (1,)),
]
ODD = np.arange(15, dtype=np.float32).reshape(3, 5)
HALF = np.arange(64, dtype=np.uint16)


def _write(path: Path) -> TensorWriter:
    with TensorWriter(path, SPECS, alignment=64) as writer:
        writer.write("odd", ODD[:2])
        writer.write("odd", ODD[2:])
        writer.write("none", np.zeros((0, 4), np.float32))
        writer.write("half", HALF)
        writer.write("byte", np.array([7], np.uint8))
    return writer


def test_round_trip_is_aligned_and_readable_by_the_library(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    writer = _write(path)
    assert writer.size == path.stat().st_size
    mapped = MappedTensors(OpenFile.at(path))
    assert set(mapped.stored) == {"odd", "none", "half", "byte"}
    assert all(tensor.offset % 64 == 0 for tensor in mapped.stored.values())
    np.testing.assert_array_equal(mapped.array("odd"), ODD)
    np.testing.assert_array_equal(mapped.array("half"), HALF)
    assert mapped.array("none").shape == (0, 4)
    assert mapped.array("odd").ctypes.data % 64 == 0
    (tmp_path / "float").mkdir()
    with TensorWriter(tmp_path / "f.safetensors", SPECS[:1], alignment=64) as floats:
        floats.write("odd", ODD)
    np.testing.assert_array_equal(load_file(tmp_path / "f.safetensors")["odd"], ODD)


def test_the_same_tensors_make_the_same_bytes(tmp_path: Path):
    first, second = tmp_path / "a", tmp_path / "b"
    assert _write(first).sha256 == _write(second).sha256
    assert first.read_bytes() == second.read_bytes()


def test_a_mapping_is_private(tmp_path: Path):
    path = tmp_path / "a"
    _write(path)
    before = path.read_bytes()
    MappedTensors(OpenFile.at(path)).array("odd")[0, 0] = 99
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "piece"),
    [("half", HALF), ("odd", np.zeros(16, np.float32)), ("unknown", HALF)],
    ids=["out of order", "too long", "unknown"],
)
def test_the_writer_refuses_what_it_did_not_announce(tmp_path: Path, name: str, piece: np.ndarray):
    with (
        pytest.raises(ValueError, match=name),
        TensorWriter(tmp_path / "a", SPECS, alignment=64) as writer,
    ):
        writer.write(name, piece)


def test_a_missing_tensor_is_an_error(tmp_path: Path):
    with (
        pytest.raises(ValueError, match="half is incomplete"),
        TensorWriter(tmp_path / "a", SPECS, alignment=64) as writer,
    ):
        writer.write("odd", ODD)


@pytest.mark.parametrize("kept", [0, 7, 8, 100, -1])
def test_truncation_is_refused(tmp_path: Path, kept: int):
    path = tmp_path / "a"
    _write(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ArtifactError):
        read_header(OpenFile.at(path))


def _file(path: Path, entries: object, size: int = 64) -> Path:
    text = json.dumps(entries).encode()
    text += b" " * (-(len(text) + 8) % 64)
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(size))
    return path


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [16], "data_offsets": [0, 32]},
        {"dtype": "F32", "shape": [32], "data_offsets": [0, 128]},
        {"dtype": "F32", "shape": [-16], "data_offsets": [0, 64]},
        {"dtype": "F32", "shape": [8], "data_offsets": [32, 64]},
        {"dtype": "F33", "shape": [16], "data_offsets": [0, 64]},
        {"dtype": "F32", "shape": [True], "data_offsets": [0, 64]},
        {"dtype": "F32", "shape": [1 << 62, 4], "data_offsets": [0, 64]},
        {"dtype": "F32", "data_offsets": [0, 64]},
        {"dtype": "F32", "shape": 16, "data_offsets": [0, 64]},
        [],
    ],
)
def test_a_contradictory_header_is_refused(tmp_path: Path, entry: object):
    with pytest.raises(ArtifactError):
        read_header(OpenFile.at(_file(tmp_path / "a", {"x": entry})))


def test_overlapping_tensors_are_refused(tmp_path: Path):
    entry = {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}
    with pytest.raises(ArtifactError, match="overlap"):
        read_header(OpenFile.at(_file(tmp_path / "a", {"x": entry, "y": entry})))


def test_a_header_that_is_no_object_is_refused(tmp_path: Path):
    with pytest.raises(ArtifactError):
        read_header(OpenFile.at(_file(tmp_path / "a", [1])))
