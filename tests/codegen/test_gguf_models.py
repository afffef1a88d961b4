"""GGUF files compiled and run: equal to the same model from safetensors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import sala_compile
from sala_compile.codegen.cli.compile import command
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.artifact import open_artifact
from sala_compile.runtime.errors import CheckpointError, RequestError
from sala_compile.runtime.verify import verify_artifact
from tests.support.compiled import compile_checkpoint
from tests.support.emulated_gpu import emulated_code, emulated_gpu
from tests.support.gguf_files import dense_config, minicpm_config, write_models

IDS = [int(i) for i in np.random.default_rng(5).integers(3, 300, 70)]


def mixed(name: str) -> str:
    """Types as files mix them: merged projections of several, embedding and head of others."""
    for part, kind in {
        "v_proj": "Q6_K",
        "down": "Q5_K",
        "embed": "Q8_0",
        "lm_head": "Q6_K",
    }.items():
        if part in name:
            return kind
    return "Q4_0" if ".1." in name else "Q4_K"


def logits(path: Path, output: Path, **options: Any) -> np.ndarray:
    compile_checkpoint(path, output, **options)
    with sala_compile.load(output, context=128, batch=1, chunk=64, poison=True) as model:
        return model.logits(IDS)


def files(folder: Path) -> dict[str, bytes]:
    """The bytes of all files below a folder."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize("dtype", Precision)
def test_floats_give_the_same_bits(tmp_path: Path, dtype: Precision):
    config = dense_config("llama", tie_word_embeddings=True)
    path, plain = write_models(tmp_path, config, lambda name: "F16")
    ours = logits(path, tmp_path / "a.sala", dtype=dtype)
    assert np.array_equal(ours, logits(plain, tmp_path / "b.sala", dtype=dtype))


@pytest.mark.parametrize(
    ("family", "kind"),
    [("llama", "mixed"), ("minicpm", "Q4_0"), ("qwen2", "Q5_1"), ("qwen3", "Q8_0")],
)
def test_integers_give_the_same_model(tmp_path: Path, family: str, kind: str):
    config = minicpm_config() if family == "minicpm" else dense_config(family)
    path, plain = write_models(tmp_path, config, mixed if kind == "mixed" else lambda name: kind)
    ours = logits(path, tmp_path / "a.sala")
    theirs = logits(plain, tmp_path / "b.sala")
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * theirs.std())


def test_llama3_frequencies_come_as_factors(tmp_path: Path):
    """rope_freqs.weight, as llama.cpp's converter writes a scaling of kind llama3."""
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    config = dense_config("llama", rope_scaling=scaling)
    frequencies = 10000.0 ** -(np.arange(0, 32, 2) / 32)
    wavelengths = 2 * np.pi / frequencies
    smooth = (64 / wavelengths - 1.0) / 3.0
    factors = np.where(
        wavelengths < 16, 1.0, np.where(wavelengths > 64, 8.0, 1 / ((1 - smooth) / 8 + smooth))
    )
    extra = {"rope_freqs.weight": factors.astype(np.float32)}
    path, plain = write_models(tmp_path, config, extra=extra)
    theirs = logits(plain, tmp_path / "b.sala")
    found = logits(path, tmp_path / "a.sala")
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-4 * theirs.std())
    unscaled, _ = write_models(tmp_path, config)
    assert np.abs(logits(unscaled, tmp_path / "c.sala") - theirs).max() > 0.01 * theirs.std()


def test_other_types_are_rounded_by_request_and_the_error_reported(tmp_path: Path):
    config = dense_config("qwen3", num_hidden_layers=1)
    kind_of = lambda name: "IQ3_S" if "down" in name or "lm_head" in name else "Q4_K"  # noqa: E731
    path, _ = write_models(tmp_path, config, kind_of)
    with pytest.raises(CheckpointError, match=r"2 of IQ3_S"):
        compile_checkpoint(path, tmp_path / "a.sala", dtype=Precision.BFLOAT16)
    output = tmp_path / "b.sala"
    command_line = [str(path), "-o", str(output), "--chunk", "64", "--requantize", "int4-g32"]
    result = CliRunner().invoke(command, command_line)
    assert result.exit_code == 0, result.output
    told = " ".join(result.output.split())
    assert "GGUF IQ3_S, Q4_K, as the checkpoint stores it; 2 of IQ3_S rounded again" in told
    info = open_artifact(output).manifest.quantization
    assert info is not None
    errors = {
        name.removeprefix("model.layers.0."): entry.weight_error
        for name, entry in info.tensors.items()
        if entry.weight_error is not None
    }
    assert errors.keys() == {"mlp.down_proj.weight", "lm_head.weight"}
    assert 0.01 < errors["mlp.down_proj.weight"] < 0.2
    assert 0 < errors["lm_head.weight"] < 0.02
    assert info.weight_error is not None
    assert min(errors.values()) < info.weight_error < max(errors.values())
    assert f"{info.weight_error:.2%} in all" in told
    assert verify_artifact(output).passed


def test_float32_holds_the_values_of_every_type(tmp_path: Path):
    config = dense_config("qwen3", num_hidden_layers=1)
    path, plain = write_models(tmp_path, config, lambda name: "IQ2_XXS")
    ours = logits(path, tmp_path / "a.sala", dtype=Precision.FLOAT32)
    assert np.array_equal(ours, logits(plain, tmp_path / "b.sala", dtype=Precision.FLOAT32))


def test_quantising_what_is_quantised_is_refused(tmp_path: Path):
    path, _ = write_models(tmp_path, dense_config(), lambda name: "Q4_0")
    with pytest.raises(RequestError, match="GGUF Q4_0"):
        compile_checkpoint(path, tmp_path / "a.sala", quantization=Quantization.INT4_G32)


def test_the_command_takes_the_file(tmp_path: Path):
    path, _ = write_models(tmp_path, dense_config(), lambda name: "Q4_1")
    output = tmp_path / "a.sala"
    result = CliRunner().invoke(command, [str(path), "-o", str(output), "--chunk", "64"])
    assert result.exit_code == 0, result.output
    assert "GGUF Q4_1" in " ".join(result.output.split())
    compile_checkpoint(path, tmp_path / "b.sala", dtype=Precision.BFLOAT16, context=32768)
    assert files(output) == files(tmp_path / "b.sala")


def test_a_missing_tensor_names_the_file(tmp_path: Path):
    metadata = {"llama.block_count": 3}
    path, _ = write_models(tmp_path, dense_config(), metadata=metadata)
    with pytest.raises(CheckpointError, match=r"model\.gguf") as caught:
        compile_checkpoint(path, tmp_path / "a.sala")
    assert "missing" in str(caught.value)


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0"])
def test_on_an_emulated_gpu(tmp_path: Path, kind: str):
    path, plain = write_models(
        tmp_path, dense_config("qwen3", num_hidden_layers=1), lambda name: kind
    )
    theirs = logits(plain, tmp_path / "b.sala")
    with emulated_gpu():
        with emulated_code():
            compile_checkpoint(path, tmp_path / "a.sala", targets=("cuda:sm_90",))
        gpu = sala_compile.load(tmp_path / "a.sala", context=80, batch=1, chunk=8, device="cuda")
        with gpu, gpu.sequence() as sequence:
            rows = [sequence.append(IDS[:9]), *(sequence.append([id]) for id in IDS[9:11])]
    np.testing.assert_allclose(np.stack(rows), theirs[8:11], rtol=0, atol=1e-4 * theirs.std())
