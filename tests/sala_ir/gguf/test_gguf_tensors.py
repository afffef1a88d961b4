"""Tensors of GGUF files: every type by rows, the order of rows, and integers as they are."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.gguf.gguf_integers import GgufIntegers
from sala_compile.sala_ir.checkpoint.gguf.open_gguf import open_gguf
from sala_compile.sala_ir.checkpoint.gguf.stored_types import FLOATS
from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr
from sala_compile.sala_ir.frontends import frontend_for
from tests.support.gguf_files import KINDS, dense_config, minicpm_config, write_models


def opened(path: Path) -> Checkpoint:
    """A GGUF file, its tokenizer files beside it."""
    folder = path.parent / "files"
    folder.mkdir(exist_ok=True)
    return open_gguf(path, folder)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("kind", [*FLOATS, *KINDS])
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


LABELS = {
    "Q8_0": "int8-g32",
    "Q4_0": "int4-g32",
    "Q4_1": "int4-g32-minima",
    "Q5_0": "int5-g32",
    "Q5_1": "int5-g32-minima",
    "Q2_K": "int4-g16-minima-super256",
    "Q3_K": "int4-g16-super256",
    "Q4_K": "int4-g32-minima-super256",
    "Q5_K": "int5-g32-minima-super256",
    "Q6_K": "int6-g16-super256",
    "TQ1_0": "int4-g128",
    "TQ2_0": "int4-g128",
    "IQ4_NL": "int8-g32",
    "IQ4_XS": "int8-g32-super256",
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_integers_are_taken_as_they_are(tmp_path: Path, kind: str, family: str):
    path, plain = write_models(tmp_path, dense_config(family), lambda name: kind)
    wanted = load_file(plain / "model.safetensors")
    expected = {name: values.shape for name, values in wanted.items()}
    with opened(path) as checkpoint:
        published = GgufIntegers(checkpoint, expected)
        matrices = {name for name, shape in expected.items() if len(shape) == 2}
        assert published.encodings.keys() == matrices
        for name, encoding in published.encodings.items():
            columns = expected[name][1]
            assert encoding.label == LABELS[kind]
            found = published.read(name, 3, 41).values(columns)
            assert np.array_equal(found, wanted[name][3:41]), name


@pytest.mark.parametrize(
    ("kind", "place", "number", "found"),
    [
        ("Q8_0", 34, np.inf, "scale of row 2, block 1 is inf"),
        ("Q4_1", 22, -np.inf, "minimum of row 2, block 1 is -inf"),
        ("Q5_0", 22, np.nan, "scale of row 2, block 1 is nan"),
        ("Q4_K", 144, np.nan, "scale of row 2, block 1 is nan"),
        ("Q5_K", 178, -np.inf, "minimum of row 2, block 1 is inf"),  # stored with the other sign
        ("Q6_K", 418, np.inf, "scale of row 2, block 1 is inf"),
    ],
)
def test_a_scale_that_is_not_finite_is_refused_with_its_place(
    tmp_path: Path, kind: str, place: int, number: float, found: str
):
    path, _ = write_models(tmp_path, dense_config("qwen3"), lambda name: kind)
    name = "model.layers.1.mlp.down_proj.weight"
    with opened(path) as checkpoint:
        tensor = checkpoint.tensors[name]
        data = bytearray(path.read_bytes())
        position = tensor.begin + 2 * tensor.row_bytes + place
        data[position : position + 2] = np.float16(number).tobytes()
        path.write_bytes(data)
    with opened(path) as checkpoint:
        published = GgufIntegers(checkpoint, {name: tensor.shape})
        assert len(published.read(name, 0, 2)) == 2
        with pytest.raises(CheckpointError, match=found) as caught:
            published.read(name, 1, 4)
    assert name in str(caught.value)


def test_other_blocks_are_rounded_again_and_measured_once(tmp_path: Path):
    """However their rows are read; embedding and head keep 8 bits."""
    path, plain = write_models(tmp_path, dense_config("qwen3"), lambda name: "IQ2_XXS")
    wanted = load_file(plain / "model.safetensors")
    expected = {name: values.shape for name, values in wanted.items()}
    with opened(path) as checkpoint:
        published = GgufIntegers(checkpoint, expected)
        assert not published.encodings
        matrices = sum(len(shape) == 2 for shape in expected.values())
        assert published.others == f"{matrices} of IQ2_XXS"
        with pytest.raises(CheckpointError, match=r"(?s)IQ2_XXS.*--requantize"):
            published.refuse_others()
        published.round_others(EncodingAttr("int4", 32))
        labels = {name: encoding.label for name, encoding in published.encodings.items()}
        assert labels.pop("model.embed_tokens.weight") == labels.pop("lm_head.weight")
        assert set(labels.values()) == {"int4-g32"}
        assert published.errors.total_error is None
        name = "model.layers.1.mlp.down_proj.weight"
        values = wanted[name]
        for start, stop in ((5, 9), (0, 3), (2, 100), (0, 100), (100, len(values)), (7, 8)):
            found = published.read(name, start, stop).values(values.shape[1])
            nearest = Integers.rounded(values[start:stop], EncodingAttr("int4", 32))
            assert np.array_equal(found, nearest.values(values.shape[1]))
        lost = values - Integers.rounded(values, EncodingAttr("int4", 32)).values(values.shape[1])
        error = np.sqrt(np.square(lost, dtype=np.float64).sum() / np.square(values).sum())
        assert published.errors.weight_error(name) == pytest.approx(error, rel=1e-5)
        assert published.errors.total_error == pytest.approx(error, rel=1e-5)


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


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("scaled", [False, True])
def test_configuration_of_minicpm_equals_that_of_the_directory(
    tmp_path: Path, layers: int, scaled: bool
):
    """Scales that are products in the file, factors of short and of long calls as tensors."""
    raw = minicpm_config(num_hidden_layers=layers)
    keys, extra = {}, {}
    if scaled:
        factors = {"short_factor": [1.0, *[1.25] * 15], "long_factor": [1.5, *[4.0] * 15]}
        raw["rope_scaling"] = {
            "rope_type": "longrope",
            **factors,
            "original_max_position_embeddings": 512,
        }
        keys = {"minicpm.rope.scaling.type": "longrope"}
        extra = {
            f"rope_factors_{name}.weight": np.array(factors[f"{name}_factor"], np.float32)
            for name in ("long", "short")
        }
    path, _ = write_models(tmp_path, raw, metadata=keys, extra=extra)
    frontend = frontend_for(raw)
    with opened(path) as checkpoint:
        assert frontend.parse_config(checkpoint.config) == frontend.parse_config(raw)


def test_factors_of_short_calls_alone_are_refused(tmp_path: Path):
    extra = {"rope_factors_short.weight": np.ones(16, np.float32)}
    path, _ = write_models(tmp_path, minicpm_config(), extra=extra)
    with pytest.raises(CheckpointError, match=r"there are rope_factors_short\.weight"):
        opened(path)


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
