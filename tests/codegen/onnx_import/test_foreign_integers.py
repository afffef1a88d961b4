"""Integers and rotary tables of models that onnxruntime-genai's builder (0.18) wrote.

`data/` has the graphs; every weight is drawn here, so that nothing but the file says what it is.
"""

import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from sala_compile.codegen.onnx_export.model_session import open_session
from sala_compile.codegen.opening import open_source
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.progress import Silent
from sala_compile.codegen.quantization.source import open_weights
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.dialect import RopeTableOp, plain
from sala_compile.sala_ir.frontends.kit.rope_config import Rope
from sala_compile.sala_ir.frontends.kit.rotary import rotary
from sala_compile.sala_ir.interpreter import ReferenceModel
from tests.codegen.onnx_import.test_round_trip import opened

DATA = Path(__file__).parent / "data"
TIED, ZEROS, BYTES = (
    "llama-tied-a-genai-int4",
    "llama-tied-a-genai-int4-zeros",
    "qwen3-a-genai-int8",
)
BASES = {TIED: 1e4, ZEROS: 5e5, BYTES: 1e6}
"""The base of the frequencies; those of ZEROS are scaled."""
LLAMA3 = Rope(
    rope_type="llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)


@dataclass(frozen=True)
class Built:
    """A model with drawn weights, and these by name."""

    path: Path
    arrays: dict[str, np.ndarray]


def built(folder: Path, name: str, *, narrow: bool = True, factor: float = 1.0) -> Built:
    """Draw the weights: scales that float16 holds, if `narrow`; tables times a factor."""
    random, path = np.random.default_rng(7), folder / "model.onnx"
    shutil.copy(DATA / f"{name}.onnx", path)
    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = 1  # activations in float32
    arrays: dict[str, np.ndarray] = {}
    with (folder / "model.onnx.data").open("wb") as file:
        for tensor in model.graph.initializer:
            if not tensor.external_data:
                continue
            value = _drawn(tensor.name, tuple(tensor.dims), BASES[name], random, narrow, factor)
            arrays[tensor.name] = value
            file.seek(offset_of(tensor))
            file.write(value.tobytes())
    path.write_bytes(model.SerializeToString())
    return Built(path, arrays)


def offset_of(tensor: Any) -> int:
    """Where its bytes begin."""
    return int(next(each.value for each in tensor.external_data if each.key == "offset"))


def _drawn(
    name: str, shape: tuple[int, ...], base: float, random: Any, narrow: bool, factor: float
) -> np.ndarray:
    if name.endswith(("_Q4", "_Q8", "_zero_points")):
        return random.integers(0, 256, shape, np.uint8)
    if name.endswith("_scales"):
        width = 0.002 if "Q8" in name else 0.01
        scales = random.uniform(width / 2, width, shape).astype(np.float32)
        return scales.astype(np.float16).astype(np.float32) if narrow else scales
    if "_cache" in name:
        rope = LLAMA3 if base == BASES[ZEROS] else Rope()
        frequencies = np.float32(rotary(rope, base, 2 * shape[1]).frequencies)
        angles = np.arange(shape[0], dtype=np.float32)[:, None] * frequencies
        table = np.cos(angles) if name.startswith("cos") else np.sin(angles)
        return (np.float32(factor) * table).astype(np.float32)
    spread = random.standard_normal(shape).astype(np.float32)
    return 1 + spread / 10 if len(shape) == 1 else spread


def dequantised(arrays: dict[str, np.ndarray], name: str, columns: int) -> np.ndarray:
    """The values of a `MatMulNBits`, by the definition of the operator."""
    bits = 4 if f"{name}_Q4" in arrays else 8
    codes, scales = arrays[f"{name}_Q{bits}"], arrays[f"{name}_scales"]
    zeros = np.full(scales.shape, 1 << (bits - 1))
    if f"{name}_zero_points" in arrays:
        packed = arrays[f"{name}_zero_points"]
        zeros = np.stack((packed % 16, packed // 16), axis=2).reshape(len(packed), -1)
        zeros = zeros[:, : scales.shape[1]]
    if bits == 4:
        codes = np.stack((codes % 16, codes // 16), axis=3).reshape(*codes.shape[:2], -1)
    values = (codes.astype(np.float32) - zeros[:, :, None]) * scales[:, :, None]
    return values.reshape(len(values), -1)[:, :columns].astype(np.float32)


@pytest.mark.parametrize("narrow", [True, False])
@pytest.mark.parametrize("name", BASES)
def test_values_are_those_of_the_operators(tmp_path: Path, name: str, narrow: bool) -> None:
    """As integers where float16 holds their scales, and else, on request, as float32."""
    model = built(tmp_path, name, narrow=narrow)
    _, tensors, _ = opened(model.path)
    hidden = tensors["model.norm.weight"][0].size
    layer = "model.layers.1."
    packed = dequantised(model.arrays, f"{layer}attn.qkv_proj.MatMul.weight", hidden)
    parts = [tensors[f"{layer}self_attn.{part}_proj.weight"] for part in "qkv"]
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), packed)
    for part in parts:
        assert (len(part) == 2) == narrow
    head = dequantised(model.arrays, "lm_head.MatMul.weight", hidden)
    embedding = tensors["model.embed_tokens.weight"][0]
    if name == TIED:
        assert "lm_head.weight" not in tensors
        np.testing.assert_array_equal(embedding, head)
    else:
        np.testing.assert_array_equal(embedding, model.arrays["model.embed_tokens.weight"])
        np.testing.assert_array_equal(tensors["lm_head.weight"][0], head)


@pytest.mark.parametrize("name", BASES)
def test_logits_are_those_of_onnxruntime(tmp_path: Path, name: str) -> None:
    """The foreign file in onnxruntime, and what is captured from it on the reference."""
    model = built(tmp_path, name)
    ids = np.random.default_rng(3).integers(3, 250, (1, 90))
    session = open_session(model.path)
    size = 2 * model.arrays["cos_cache"].shape[1]
    feeds: dict[str, Any] = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    for each in session.get_inputs():
        if each.name not in feeds:
            feeds[each.name] = np.zeros((1, each.shape[1], 0, size), np.float32)
    found = session.run(["logits"], feeds)[0][0]
    options = CompileOptions(checkpoint=model.path, output=None, dry_run=True)
    with ExitStack() as stack:
        source = open_source(options, stack)
        with open_weights(source, options, Silent()) as weights:
            wanted = ReferenceModel(source.captured, weights.source).prefill(ids[0].tolist())
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * float(np.std(wanted)))


def _table(path: Path) -> tuple[tuple[float, ...], float]:
    """Frequencies and factor of the rotary table that is captured from a model."""
    options = CompileOptions(checkpoint=path, output=None, dry_run=True)
    with ExitStack() as stack:
        captured = open_source(options, stack).captured
        (op,) = (op for op in captured.walk() if isinstance(op, RopeTableOp))
        return tuple(plain(op.frequencies)), op.factor.value.data


def test_scaled_tables_give_their_frequencies_to_the_bit(tmp_path: Path) -> None:
    """And the factor of cosines and sines."""
    wanted = rotary(LLAMA3, BASES[ZEROS], 16).frequencies
    assert wanted != rotary(Rope(), BASES[ZEROS], 16).frequencies
    assert _table(built(tmp_path, ZEROS).path) == (wanted, 1.0)
    assert _table(built(tmp_path, ZEROS, factor=1.25).path) == (wanted, 1.25)


def test_digests_depend_on_every_part(tmp_path: Path) -> None:
    model = built(tmp_path, ZEROS)
    digests = {opened(model.path)[2]}
    graph = onnx.load(model.path, load_external_data=False).graph
    data = tmp_path / "model.onnx.data"
    whole = data.read_bytes()
    for part in ("_Q4", "_scales", "_zero_points"):
        end = f"down_proj.MatMul.weight{part}"
        tensor = next(each for each in graph.initializer if each.name.endswith(end))
        changed = bytearray(whole)
        changed[offset_of(tensor)] ^= 1
        data.write_bytes(changed)
        digests.add(opened(model.path)[2])
    assert len(digests) == 4


def test_scales_that_float16_lacks_are_refused_or_rounded_on_request(tmp_path: Path) -> None:
    model = built(tmp_path, TIED, narrow=False)
    with pytest.raises(CheckpointError, match="scales that float16 lacks") as caught:
        opened(model.path, dtype=Precision.BFLOAT16)
    assert "--requantize" in str(caught.value.fix)
    text, tensors, _ = opened(
        model.path, dtype=Precision.BFLOAT16, requantization=Quantization.INT4_G32
    )
    assert "#sala.encoding<int4, 32>" in text
    hidden = tensors["model.norm.weight"][0].size
    exact = dequantised(model.arrays, "model.layers.0.mlp.up_proj.MatMul.weight", hidden)
    found = tensors["model.layers.0.mlp.up_proj.weight"][0]
    assert 0 < np.abs(found - exact).max() < np.abs(exact).max() / 8


def _bits(node: Any, graph: Any) -> None:
    _set(node, "bits", 2)


def _groups(node: Any, graph: Any) -> None:
    _set(node, "block_size", 48)


def _prepacked(node: Any, graph: Any) -> None:
    node.attribute.append(helper.make_attribute("weight_prepacked", 1))


def _reordered(node: Any, graph: Any) -> None:
    node.input.extend([""] * (4 - len(node.input)) + ["cos_cache"])


def _narrower(node: Any, graph: Any) -> None:
    _set(node, "K", 64)


def _float_zeros(node: Any, graph: Any) -> None:
    node.input[3:] = [node.input[2]]


def _computed(node: Any, graph: Any) -> None:
    node.input[1] = graph.node[0].output[0]


def _set(node: Any, name: str, value: int) -> None:
    next(each for each in node.attribute if each.name == name).i = value


EDITS = {
    _bits: "2 bits",
    _groups: "groups have 48 columns",
    _prepacked: "weight_prepacked is 1",
    _reordered: "grouped by cos_cache",
    _narrower: r"the tensor is U8 \[320, 2, 32\]",
    _float_zeros: "the tensor is F32",
    _computed: "is no stored tensor",
}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_other_integers_are_refused_with_the_reason(tmp_path: Path, edit: Any) -> None:
    model = built(tmp_path, TIED)
    proto = onnx.load(model.path, load_external_data=False)
    edit([node for node in proto.graph.node if node.op_type == "MatMulNBits"][-1], proto.graph)
    model.path.write_bytes(proto.SerializeToString())
    with pytest.raises(CheckpointError, match=EDITS[edit]) as caught:
        opened(model.path)
    assert "lm_head" in str(caught.value.where)
