"""GGUF files that are damaged, hostile, or ask for what no frontend has: one error each."""

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType

from sala_compile.runtime.errors import CheckpointError, ConfigError, SalaError
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.gguf.open_gguf import open_gguf
from sala_compile.sala_ir.frontends import frontend_for
from tests.support.gguf_files import dense_config, finish, write_models


def opened(path: Path) -> Checkpoint:
    folder = path.parent / "files"
    folder.mkdir(exist_ok=True)
    return open_gguf(path, folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path, _ = write_models(tmp_path_factory.mktemp("whole"), dense_config())
    return path.read_bytes()


def test_every_cut_of_the_header_is_refused(tmp_path: Path, whole: bytes):
    path = tmp_path / "cut.gguf"
    for size in [*range(0, 1200, 7), len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            opened(path)


def test_changed_bytes_are_refused_or_harmless(tmp_path: Path, whole: bytes):
    """No other error than one of ours, whatever a byte of the header becomes."""
    path = tmp_path / "changed.gguf"
    random = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(whole[:20000])
        data[int(random.integers(0, 2500))] = int(random.integers(0, 256))
        path.write_bytes(bytes(data) + bytes(len(whole) - len(data)))
        try:
            with opened(path) as checkpoint:
                frontend_for(checkpoint.config).parse_config(checkpoint.config)
        except SalaError:
            pass


def header(*, version: int = 3, tensors: int = 0, keys: int = 0, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + rest


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


ARRAY = text("a") + struct.pack("<I", 9)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"GGML" + bytes(100), "does not begin as a GGUF file"),
        (header(version=1) + bytes(100), "version is 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0) + bytes(100), "big-endian"),
        (header(keys=2**63) + bytes(100), "keys"),
        (header(tensors=2**60) + bytes(100), "tensors"),
        (header(keys=1, rest=struct.pack("<Q", 2**62)) + bytes(100), "needs 4611686018427387904"),
        (header(keys=1, rest=ARRAY + struct.pack("<IQ", 8, 2**61)) + bytes(100), "texts"),
        (header(keys=1, rest=ARRAY + struct.pack("<IQ", 4, 2**61)) + bytes(100), "numbers"),
        (header(keys=1, rest=ARRAY + struct.pack("<IQ", 9, 1)) + bytes(100), "type 9"),
        (header(keys=1, rest=text("a") + struct.pack("<I", 99)) + bytes(100), "type 99"),
        (header(keys=1, rest=struct.pack("<Q", 1) + b"\xff") + bytes(100), "not UTF-8"),
    ],
)
def test_hostile_headers(tmp_path: Path, data: bytes, found: str):
    path = tmp_path / "hostile.gguf"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=found) as caught:
        opened(path)
    assert "hostile.gguf" in str(caught.value)


def place(dimensions: list[int], kind: int, offset: int) -> bytes:
    sizes = struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
    return text("t") + sizes + struct.pack("<IQ", kind, offset)


@pytest.mark.parametrize(
    ("dimensions", "kind", "offset", "found"),
    [
        ([2**40], 0, 0, "has the bytes"),
        ([2**63, 2**63, 4], 0, 0, "has shape"),
        ([0], 0, 0, "has shape"),
        ([33, 2], 2, 0, "multiple of 32"),
        ([4], 0, 2**63, "has the bytes"),
        ([4], 0, 3, "multiple of 32"),
        ([4], 777, 0, "type 777"),
        ([1] * 5, 0, 0, "5 dimensions"),
    ],
)
def test_hostile_tensors(tmp_path: Path, dimensions: list[int], kind: int, offset: int, found: str):
    path = tmp_path / "hostile.gguf"
    path.write_bytes(header(tensors=1, rest=place(dimensions, kind, offset)) + bytes(1000))
    with pytest.raises(CheckpointError, match=found):
        opened(path)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("llama.expert_count", 8, "expert_count"),
        ("llama.attention.sliding_window", 4096, "sliding_window"),
        ("llama.rope.scaling.type", "longrope", "rope.scaling.type"),
        ("llama.rope.dimension_count", 16, "rope.dimension_count"),
        ("llama.attention.value_length", 64, "attention.value_length"),
        ("llama.final_logit_softcapping", 30.0, "final_logit_softcapping"),
        ("llama.block_count", None, "llama.block_count is missing"),
        ("split.count", 4, "split.count"),
        ("general.type", "adapter", "general.type"),
    ],
)
def test_what_no_frontend_has_is_refused_by_name(tmp_path: Path, key: str, value: Any, named: str):
    path, _ = write_models(tmp_path, dense_config(), metadata={key: value})
    with pytest.raises((ConfigError, CheckpointError), match=named.replace(".", r"\.")):
        opened(path)


def test_unknown_keys_are_told(tmp_path: Path):
    path, _ = write_models(tmp_path, dense_config(), metadata={"llama.novelty": 1})
    with opened(path) as checkpoint:
        assert any("novelty" in note for note in checkpoint.notes)


@pytest.mark.parametrize("kind", ["Q8_1", "Q8_K", "I8", "F64"])
def test_types_that_are_not_read_are_refused_by_name(tmp_path: Path, kind: str):
    path = tmp_path / "types.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    values, size = gguf.GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    data = np.zeros((2, 256 // values * size), np.uint8)
    writer.add_tensor("token_embd.weight", data, raw_dtype=GGMLQuantizationType[kind])
    finish(writer)
    with pytest.raises(CheckpointError, match=f"type {kind}"):
        opened(path)


def test_architectures_without_a_frontend_are_refused_by_name(tmp_path: Path):
    path = tmp_path / "gemma.gguf"
    finish(gguf.GGUFWriter(path, "gemma3"))
    with pytest.raises(ConfigError, match="gemma3") as caught:
        opened(path)
    assert "llama, minicpm, qwen2, qwen3" in str(caught.value)
