"""Tensors of GGUF files: every type by rows, the order of rows, and integers as they are."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.gguf.exact_integers import exact_integers, widened_note
from sala_compile.sala_ir.checkpoint.gguf.open_gguf import open_gguf
from sala_compile.sala_ir.checkpoint.gguf.stored_types import READ
from sala_compile.sala_ir.frontends import frontend_for
from tests.support.gguf_files import dense_config, write_models


def opened(path: Path) -> Checkpoint:
    """A GGUF file, its tokenizer files beside it."""
    folder = path.parent / "files"
    folder.mkdir(exist_ok=True)
    return open_gguf(path, folder)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("kind", READ)
def test_values_are_those_of_the_package(tmp_path: Path, kind: str, family: str):
    """Whole tensors, and rows that begin and end within a head."""
    path, plain = write_models(tmp_path, dense_config(family), lambda name: kind)
    wanted = load_file(plain / "model.safetensors")
    with opened(path) as checkpoint:
        assert checkpoint.tensors.keys() == wanted.keys()
        for name, values in wanted.items():
            assert np.array_equal(checkpoint.read(name).astype(np.float32), values), name
            for start, stop in ((0, 0), (1, 2), (5, 37), (31, 33), (len(values) - 3, len(values))):
                found = checkpoint.rows(name, start, stop)
                assert np.array_equal(found.astype(np.float32), values[start:stop]), name


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0"])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_integers_are_taken_as_they_are(tmp_path: Path, kind: str, family: str):
    path, plain = write_models(tmp_path, dense_config(family), lambda name: kind)
    wanted = load_file(plain / "model.safetensors")
    expected = {name: values.shape for name, values in wanted.items()}
    with opened(path) as checkpoint:
        published = exact_integers(checkpoint, expected)
        assert published is not None
        matrices = {name for name, shape in expected.items() if len(shape) == 2}
        assert published.encodings.keys() == matrices - {"model.embed_tokens.weight"}
        for name, encoding in published.encodings.items():
            columns = expected[name][1]
            assert encoding.label == {"Q4_0": "int4-g32", "Q8_0": "int8-g32"}[kind]
            found = published.read(name, 3, 41).values(columns)
            assert np.array_equal(found, wanted[name][3:41]), name
        (note,) = widened_note(checkpoint, published)
        assert f"1 of {kind}" in note


def test_an_infinite_scale_is_refused_with_its_place(tmp_path: Path):
    path, _ = write_models(tmp_path, dense_config("qwen3"), lambda name: "Q8_0")
    with opened(path) as checkpoint:
        name = "model.layers.1.mlp.down_proj.weight"
        tensor = checkpoint.tensors[name]
        data = bytearray(path.read_bytes())
        position = tensor.begin + 2 * tensor.row_bytes + 34
        data[position : position + 2] = np.float16(np.inf).tobytes()
        path.write_bytes(data)
    with opened(path) as checkpoint:
        published = exact_integers(checkpoint, {name: tensor.shape})
        assert published is not None
        with pytest.raises(CheckpointError, match=r"scale of row 2, block 1 is inf") as caught:
            published.read(name, 0, 1)
    assert name in str(caught.value)


def test_a_file_that_shrinks_is_an_error(tmp_path: Path):
    path, _ = write_models(tmp_path, dense_config())
    with opened(path) as checkpoint:
        last = max(checkpoint.tensors.values(), key=lambda tensor: tensor.begin)
        with path.open("r+b") as file:
            file.truncate(last.begin + 4)
        with pytest.raises(CheckpointError, match="ends within the tensor"):
            checkpoint.read(last.name)


def test_configuration_equals_that_of_the_directory(tmp_path: Path):
    for family in ("llama", "qwen2", "qwen3"):
        for tied in (False, True):
            raw = dense_config(family, tie_word_embeddings=tied)
            folder = tmp_path / f"{family}-{tied}"
            folder.mkdir()
            path, _ = write_models(folder, raw)
            frontend = frontend_for(raw)
            with opened(path) as checkpoint:
                assert frontend.parse_config(checkpoint.config) == frontend.parse_config(raw)


@pytest.mark.parametrize("kind", ["linear", "yarn"])
def test_scalings_of_frequencies_equal_those_of_the_directory(tmp_path: Path, kind: str):
    scaling = {"rope_type": kind, "factor": 4.0}
    keys = {"llama.rope.scaling.type": kind, "llama.rope.scaling.factor": 4.0}
    if kind == "yarn":
        scaling["original_max_position_embeddings"] = 128
        keys["llama.rope.scaling.original_context_length"] = 128
    raw = dense_config(rope_scaling=scaling)
    path, _ = write_models(tmp_path, raw, metadata=keys)
    frontend = frontend_for(raw)
    with opened(path) as checkpoint:
        assert frontend.parse_config(checkpoint.config) == frontend.parse_config(raw)


def test_a_row_is_read_without_its_tensor(tmp_path: Path):
    """Memory follows from the rows that are asked for, not from the file."""
    raw = dense_config("qwen3", vocab_size=20000)
    path, _ = write_models(tmp_path, raw, lambda name: "Q8_0")
    tracemalloc.start()
    with opened(path) as checkpoint:
        for start in range(0, 20000, 5000):
            checkpoint.rows("model.embed_tokens.weight", start, start + 64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 10_000_000
    assert peak < 1_500_000


def test_biases_of_llama_are_in_the_order_of_their_rows(tmp_path: Path):
    raw = dense_config("llama", attention_bias=True)
    path, plain = write_models(tmp_path, raw, lambda name: "Q5_0")
    wanted = load_file(plain / "model.safetensors")
    frontend = frontend_for(raw)
    with opened(path) as checkpoint:
        assert frontend.parse_config(checkpoint.config) == frontend.parse_config(raw)
        biases = [name for name in wanted if name.endswith(".bias")]
        assert len(biases) == 8
        for name in biases:
            assert np.array_equal(checkpoint.read(name), wanted[name])
            assert np.array_equal(checkpoint.rows(name, 5, 37), wanted[name][5:37])
