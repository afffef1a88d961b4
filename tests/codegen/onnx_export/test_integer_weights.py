"""Weights of integers: the very integers, in products and in rows of the embedding."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file

from sala_compile.codegen.onnx_export.element import OnnxElement
from sala_compile.codegen.onnx_export.lower import lower_to_onnx
from sala_compile.codegen.onnx_export.model_session import ModelSession, open_session
from sala_compile.codegen.options import WeightRounding
from sala_compile.passes.pipeline import run_pipeline
from sala_compile.passes.quantize_weights import QuantizeWeights
from sala_compile.passes.support.quantization import Quantization, store_as_integers
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.dialect import EncodingAttr
from sala_compile.sala_ir.interpreter.reference_model import NewTokens
from tests.codegen.onnx_export.conftest import export, require_whole_inference
from tests.codegen.onnx_import.test_round_trip import opened
from tests.support.checkpoints import reference_model
from tests.support.compiled import GOLDEN
from tests.support.gguf_files import KINDS, dense_config, minicpm_config, write_models

FLOATS = ("IQ2_XXS", "IQ3_S")
"""Types of blocks whose values are no integers with scales."""
IDS = np.random.default_rng(5).integers(3, 250, 70)
MIXED = {"v_proj": "Q6_K", "down": "Q5_K", "embed": "Q8_0", "lm_head": "Q4_1", "o_proj": "Q5_0"}
"""Types as files mix them: of 4 to 8 bits, with minima and super-blocks."""


def mixed(name: str) -> str:
    """The type of a tensor."""
    found = [kind for part, kind in MIXED.items() if part in name]
    return found[0] if found else "Q4_0" if ".1." in name else "Q4_K"


def logits(model: Path) -> np.ndarray:
    """The logits in onnxruntime, in two pieces."""
    session = ModelSession(open_session(model))
    return np.concatenate([session(IDS[:50], len(IDS))[0], session(IDS[50:], len(IDS))[0]])


@pytest.mark.parametrize(
    ("family", "tied", "element", "limit"),
    [
        ("llama", False, OnnxElement.FLOAT32, 1e-4),
        ("llama", True, OnnxElement.FLOAT16, 0.1),
        ("minicpm", True, OnnxElement.FLOAT32, 1e-4),
    ],
)
def test_a_gguf_file_gives_the_values_of_its_integers(
    tmp_path: Path, family: str, tied: bool, element: OnnxElement, limit: float
) -> None:
    make = minicpm_config if family == "minicpm" else dense_config
    path, plain = write_models(tmp_path, make(tie_word_embeddings=tied), mixed)
    ours = export(path, tmp_path / "ours", element)
    wanted = logits(export(plain, tmp_path / "wanted", OnnxElement.FLOAT32))
    np.testing.assert_allclose(logits(ours), wanted, rtol=0, atol=limit * wanted.std())
    stored = {each.name for each in onnx.load(ours, load_external_data=False).graph.initializer}
    assert "model.layers.0.self_attn.v_proj.weight.codes" in stored
    assert tied == ("lm_head.weight.codes" not in stored)


@pytest.mark.parametrize("kind", KINDS)
def test_the_integers_are_those_of_the_file(tmp_path: Path, kind: str) -> None:
    """Of every type of blocks; those without integers are floats in the export."""
    path, _ = write_models(tmp_path, dense_config(), lambda name: kind)
    model = export(path, tmp_path / "model", OnnxElement.BFLOAT16)
    require_whole_inference(model)
    stored, (_, wanted, _) = load_file(model.parent / "model.safetensors"), opened(path)
    assert kind in FLOATS or sum(len(parts) == 2 for parts in wanted.values()) > 10
    for name, (values, *codes) in wanted.items():
        if not codes:
            assert stored[name].shape == values.shape
            continue
        found = stored[f"{name}.codes"]
        if found[0].size < values.shape[1]:
            found = np.stack((found & 15, found >> 4), axis=-1)
        np.testing.assert_array_equal(found.reshape(values.shape), codes[0], err_msg=name)


@pytest.mark.parametrize("quantization", ["int4-g128", "int4-g32", "int8"])
def test_quantised_linears_are_those_of_the_graph(tmp_path: Path, quantization: str) -> None:
    options: Any = {
        "quantization": Quantization(quantization),
        "rounding": WeightRounding.NEAREST,
    }
    model = export(GOLDEN / "sala-tiny-a", tmp_path / "model", OnnxElement.FLOAT32, **options)
    require_whole_inference(model)
    reference = reference_model(GOLDEN / "sala-tiny-a")
    run_pipeline(reference.module, [QuantizeWeights(quantization, "float32")])
    (wanted,) = reference.step([NewTokens(0, IDS.tolist())])
    np.testing.assert_allclose(logits(model), wanted, rtol=0, atol=2e-4)


def test_calibrated_integers_are_stored(tmp_path: Path) -> None:
    """GPTQ moves the integers: the exported ones are those that it found."""
    options = {"quantization": Quantization.INT4_G32, "calibration_tokens": 64}
    made = [
        export(
            GOLDEN / "llama-tied-a", tmp_path / name, OnnxElement.FLOAT32, **options, rounding=each
        )
        for name, each in (("gptq", WeightRounding.GPTQ), ("nearest", WeightRounding.NEAREST))
    ]
    calibrated, nearest = (logits(path) for path in made)
    plain = logits(export(GOLDEN / "llama-tied-a", tmp_path / "plain", OnnxElement.FLOAT32))
    errors = [np.square(found - plain).mean() for found in (calibrated, nearest)]
    assert 0 < errors[0] < 2 * errors[1]
    assert not np.array_equal(calibrated, nearest)


def test_groups_that_no_operator_has_are_refused() -> None:
    """`MatMulNBits` wants a power of two; the encodings of checkpoints and options all are."""
    module = reference_model(GOLDEN / "llama-tied-a").module
    name = "model.layers.1.mlp.up_proj.weight"
    store_as_integers(module, {name: EncodingAttr("int4", 48)})
    with pytest.raises(CompileError, match="groups of 48 columns") as caught:
        lower_to_onnx(module, OnnxElement.FLOAT32)
    assert name in str(caught.value.where)
