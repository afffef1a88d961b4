"""Graphs that other exporters wrote of golden checkpoints: read, or refused with the node.

`data/` holds what onnxruntime-genai's builder (0.18) and optimum (optimum-onnx 0.1, transformers
4.57, torch 2.13) wrote, without the weights, which are made here. An initializer of optimum's names
its tensor of the checkpoint in its description, and `.T` where it is transposed.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

from sala_compile.runtime.errors import CheckpointError, SalaError
from tests.codegen.onnx_import.test_round_trip import opened, require_equal
from tests.support.compiled import GOLDEN

DATA = Path(__file__).parent / "data"
NAMES = (
    *("llama-tied-a-genai", "qwen3-a-genai", "qwen3-a-genai-float16"),
    *("llama-tied-a-optimum", "qwen3-a-optimum-float16"),
)
"""Checkpoint, exporter and element type; that of a GPU norms heads in its attention."""
POSITIONS = 2048


def weights_of(name: str) -> dict[str, np.ndarray]:
    """The initializers of a built model by the builder's names."""
    stored = load_file(GOLDEN / name / "model.safetensors")
    head_dim = {"llama-tied-a": 16, "qwen3-a": 32}[name]
    theta = {"llama-tied-a": 1e4, "qwen3-a": 1e6}[name]
    frequencies = (1.0 / theta ** (np.arange(0, head_dim, 2) / head_dim)).astype(np.float32)
    angles = np.arange(POSITIONS, dtype=np.float32)[:, None] * frequencies
    embedding = stored.pop("model.embed_tokens.weight")
    found = {
        "cos_cache": np.cos(angles),
        "sin_cache": np.sin(angles),
        "lm_head.MatMul.weight": embedding.T,
    }
    norm = stored.pop("model.norm.weight")
    for key, value in stored.items():
        key = key.replace("self_attn", "attn").replace("_norm.weight", "_norm.layernorm.weight")
        is_matrix = value.ndim == 2
        found[key.replace(".weight", ".MatMul.weight") if is_matrix else key] = value.T
    layers = sum("input_layernorm" in key for key in found)
    found[f"model.layers.{layers}.final_norm_layernorm.weight"] = norm
    for layer in range(layers):
        prefix = f"model.layers.{layer}.attn."
        parts = [found.pop(f"{prefix}{part}_proj.MatMul.weight") for part in "qkv"]
        found[f"{prefix}qkv_proj.MatMul.weight"] = np.concatenate(parts, axis=1)
    return found


def transposed(name: str) -> dict[str, np.ndarray]:
    """The tensors of a golden checkpoint, and under their names with `.T` transposed."""
    stored = load_file(GOLDEN / name / "model.safetensors")
    return stored | {f"{key}.T": value.T for key, value in stored.items()}


def origin(name: str) -> tuple[str, str]:
    """The golden checkpoint and the exporter."""
    checkpoint, exporter = name.removesuffix("-float16").rsplit("-", 1)
    return checkpoint, exporter


def built(folder: Path, name: str, edit: Callable[[Any], object] | None = None) -> Path:
    """The model with its weights, after an edit of its graph."""
    path = folder / "model.onnx"
    shutil.copy(DATA / f"{name}.onnx", path)
    checkpoint, exporter = origin(name)
    graph = onnx.load(path, load_external_data=False).graph
    made = weights_of(checkpoint) if exporter == "genai" else transposed(checkpoint)
    with (folder / "model.onnx.data").open("wb") as file:
        for tensor in graph.initializer:
            if not tensor.external_data:
                continue
            places = {each.key: int(each.value) for each in tensor.external_data[1:3]}
            value = made[tensor.doc_string or tensor.name]
            if "float16" in name:
                value = value.astype(np.float16)
            value = np.ascontiguousarray(value, helper.tensor_dtype_to_np_dtype(tensor.data_type))
            assert value.shape == tuple(tensor.dims)
            file.seek(places["offset"])
            file.write(value.tobytes())
    if edit is not None:
        model = onnx.load(path, load_external_data=False)
        edit(model.graph)
        path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("name", NAMES)
def test_graph_and_bits_are_those_of_the_checkpoint(tmp_path: Path, name: str) -> None:
    """The values of the export: those of the checkpoint, rounded where it is of float16.

    Their types are those of the export, which holds float32 where the checkpoint has bfloat16.
    """
    text, tensors, _ = opened(GOLDEN / origin(name)[0])
    found = opened(built(tmp_path, name))
    assert found[0] == text
    kinds = {key: parts[0].dtype for key, parts in found[1].items()}
    values = {key: parts[0].astype(np.float32) for key, parts in tensors.items()}
    if "float16" in name:
        values = {key: value.astype(np.float16) for key, value in values.items()}
    require_equal(found[1], {key: [value.astype(kinds[key])] for key, value in values.items()})


def test_the_digest_depends_on_every_weight(tmp_path: Path) -> None:
    path = built(tmp_path, "llama-tied-a-genai")
    before = opened(path)[2]
    data = tmp_path / "model.onnx.data"
    changed = bytearray(data.read_bytes())
    changed[-1] ^= 1
    data.write_bytes(changed)
    assert opened(path)[2] != before


def _node(graph: Any, kind: str, index: int = 0) -> Any:
    return [node for node in graph.node if node.op_type == kind][index]


def _windowed(graph: Any) -> None:
    _node(graph, "GroupQueryAttention").attribute.append(
        helper.make_attribute("local_window_size", 128)
    )


def _capped(graph: Any) -> None:
    for each in _node(graph, "GroupQueryAttention", 1).attribute:
        if each.name == "softcap":
            each.f = 30.0


def _another_activation(graph: Any) -> None:
    _node(graph, "Sigmoid").op_type = "Tanh"


def _extra_node(graph: Any) -> None:
    graph.node.append(helper.make_node("Relu", ["logits"], ["more"], name="an extra node"))


def _scaled_stream(graph: Any) -> None:
    gather = _node(graph, "Gather", 1)
    for node in graph.node:
        node.input[:] = ["scaled" if n == gather.output[0] else n for n in node.input]
    scaled = helper.make_node("Mul", [gather.output[0], "twelve"], ["scaled"])
    graph.node.insert(list(graph.node).index(gather) + 1, scaled)
    graph.initializer.append(numpy_helper.from_array(np.float32(12), "twelve"))


def _out_of_order(graph: Any) -> None:
    node = graph.node.pop(3)
    graph.node.append(node)


def _made_twice(graph: Any) -> None:
    graph.node.append(_node(graph, "MatMul", 2))


def _a_circle(graph: Any) -> None:
    graph.node.insert(0, helper.make_node("Identity", ["logits"], ["logits"], name="a circle"))


def _integers(graph: Any) -> None:
    node = _node(graph, "MatMul", 3)
    node.op_type, node.domain = "MatMulNBits", "com.microsoft"


def _other_elements(graph: Any) -> None:
    graph.initializer[0].data_type = TensorProto.DOUBLE


def _wider_mask(graph: Any) -> None:
    _node(graph, "LessOrEqual").op_type = "GreaterOrEqual"


def _no_softmax(graph: Any) -> None:
    _node(graph, "Softmax", 2).op_type = "LogSoftmax"


def _swapped_halves(graph: Any) -> None:
    halves = next(
        node for node in graph.node if node.op_type == "Concat" and "Neg" in node.input[0]
    )
    halves.input[:] = [halves.input[1], halves.input[0]]


def _another_power(graph: Any) -> None:
    power = _node(graph, "Pow", 3)
    constant = next(node for node in graph.node if power.input[1] in node.output)
    constant.attribute[0].t.CopyFrom(numpy_helper.from_array(np.float32(3.0)))


def _scaled_scores(graph: Any) -> None:
    """In the last layer alone."""
    for each in _node(graph, "GroupQueryAttention", -1).attribute:
        if each.name == "scale":
            each.f *= 2


def _whole_numbers(graph: Any) -> None:
    """The first product reads a value that was cut to integers."""
    node = _node(graph, "MatMul")
    cut = helper.make_node("Cast", [node.input[0]], ["cut"], name="a cut", to=TensorProto.INT32)
    back = helper.make_node("Cast", ["cut"], ["whole"], to=TensorProto.FLOAT)
    place = list(graph.node).index(node)
    graph.node.insert(place, back)
    graph.node.insert(place, cut)
    graph.node[place + 2].input[0] = "whole"


def _small_ids(graph: Any) -> None:
    gather = next(node for node in graph.node if "input_ids" in node.input)
    cut = helper.make_node("Cast", ["input_ids"], ["cut"], name="a cut", to=TensorProto.INT8)
    place = list(graph.node).index(gather)
    graph.node.insert(place, cut)
    graph.node[place + 1].input[1] = "cut"


def _one_inner_norm(graph: Any) -> None:
    _node(graph, "GroupQueryAttention").input[15] = ""


def _no_inner_epsilon(graph: Any) -> None:
    for each in _node(graph, "GroupQueryAttention").attribute:
        if each.name == "qk_norm_epsilon":
            each.name = "another_epsilon"


GENAI, OPTIMUM = "llama-tied-a-genai", "llama-tied-a-optimum"
INNER = "qwen3-a-genai-float16"
EDITS = {
    _windowed: (GENAI, "local_window_size is 128"),
    _capped: (GENAI, "softcap is 30"),
    _another_activation: (GENAI, "and Tanh"),
    _extra_node: (GENAI, "an extra node"),
    _scaled_stream: (GENAI, "made by Mul"),
    _out_of_order: (GENAI, "which is not there yet"),
    _made_twice: (GENAI, "is made twice"),
    _a_circle: (OPTIMUM, "a circle"),
    _integers: (GENAI, "unlike its operator: 'N'"),
    _other_elements: (GENAI, "elements DOUBLE"),
    _wider_mask: (OPTIMUM, "made by GreaterOrEqual"),
    _no_softmax: (OPTIMUM, "made by LogSoftmax"),
    _scaled_scores: (GENAI, "layers of several factors of scores"),
    _whole_numbers: (GENAI, "made by Cast"),
    _small_ids: (GENAI, "the cast does not hold all integers"),
    _one_inner_norm: (INNER, "it norms heads"),
    _no_inner_epsilon: (INNER, "it norms heads"),
    _swapped_halves: (OPTIMUM, "expected Neg"),
    _another_power: (OPTIMUM, "the constant is 3.0"),
}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_what_no_family_has_is_refused_with_the_node(
    tmp_path: Path, edit: Callable[[Any], None]
) -> None:
    name, found = EDITS[edit]
    path = built(tmp_path, name, edit)
    with pytest.raises(CheckpointError) as caught:
        opened(path)
    assert found in str(caught.value)
    assert str(path) in str(caught.value.where)


def test_weights_inside_of_the_model_are_read(tmp_path: Path) -> None:
    """As exporters write small models."""
    path = built(tmp_path, OPTIMUM)
    outside = opened(path)
    onnx.save(onnx.load(path), path)
    (tmp_path / "model.onnx.data").unlink()
    inside = opened(path)
    assert inside[0] == outside[0]
    require_equal(inside[1], outside[1])


def _damage(model: Any, generator: np.random.Generator) -> None:
    """Change something at random: a node, one of its names or attributes, a tensor."""
    graph = model.graph
    node = graph.node[generator.integers(len(graph.node))]
    tensor = graph.initializer[generator.integers(len(graph.initializer))]
    match generator.integers(9):
        case 0:
            graph.node.remove(node)
        case 1:
            node.op_type = graph.node[generator.integers(len(graph.node))].op_type
        case 2 if node.input:
            del node.input[generator.integers(len(node.input))]
        case 3 if node.input:
            other = graph.node[generator.integers(len(graph.node))]
            node.input[generator.integers(len(node.input))] = other.output[0]
        case 4 if node.attribute:
            del node.attribute[:]
        case 5 if node.attribute:
            node.attribute[0].i, node.attribute[0].f = -(1 << 40), float("nan")
        case 6 if tensor.dims:
            tensor.dims[0] = int(generator.choice([0, -1, 1 << 62, 3]))
        case 7:
            tensor.data_type = int(generator.integers(0, 30))
        case _:
            del node.output[0], tensor.external_data[:2]


@pytest.mark.parametrize("name", NAMES)
def test_damaged_models_are_refused_or_read(tmp_path: Path, name: str) -> None:
    path = built(tmp_path, name)
    whole, refusals = path.read_bytes(), 0
    for seed in range(40):
        model = onnx.load_model_from_string(whole)
        _damage(model, np.random.default_rng(seed))
        path.write_bytes(model.SerializeToString())
        try:
            opened(path)
        except SalaError:
            refusals += 1
    assert refusals > 25


def _with_tables(path: Path, kind: np.dtype, tables: dict[str, np.ndarray]) -> None:
    """Put other rotary tables into a model."""
    model = onnx.load(path, load_external_data=False)
    with (path.parent / "model.onnx.data").open("r+b") as file:
        for tensor in model.graph.initializer:
            if tensor.name in tables:
                tensor.data_type = helper.np_dtype_to_tensor_dtype(kind)
                place = {each.key: each for each in tensor.external_data}
                file.seek(int(place["offset"].value))
                place["length"].value = str(file.write(tables[tensor.name].astype(kind).tobytes()))
    path.write_bytes(model.SerializeToString())


def _tables(frequencies: np.ndarray) -> dict[str, np.ndarray]:
    angles = np.arange(POSITIONS)[:, None] * frequencies
    return {"cos_cache": np.cos(angles), "sin_cache": np.sin(angles)}


@pytest.mark.parametrize("element", ["float16", "bfloat16"])
def test_narrow_tables_state_a_base_and_no_scaled_frequencies(tmp_path: Path, element: str) -> None:
    path, kind = built(tmp_path, GENAI), np.dtype(getattr(ml_dtypes, element, element))
    wanted = opened(path)[0]
    powers = 1e4 ** (-np.arange(8) / 8)
    _with_tables(path, kind, _tables(powers))
    assert opened(path)[0] == wanted
    _with_tables(path, kind, _tables(np.where(powers < 0.01, powers / 8, powers)))
    with pytest.raises(CheckpointError, match="does not state their frequencies") as caught:
        opened(path)
    assert "GroupQueryAttention" in str(caught.value.where)


def test_tables_of_no_rotation_are_refused(tmp_path: Path) -> None:
    path = built(tmp_path, GENAI)
    tables = _tables(np.geomspace(1, 1e-3, 8) / 2)
    for sines in (tables["cos_cache"], tables["sin_cache"] * 1.01, np.full((POSITIONS, 8), np.nan)):
        _with_tables(path, np.dtype("float32"), {**tables, "sin_cache": sines})
        with pytest.raises(CheckpointError, match="rotary tables are of no frequencies"):
            opened(path)


def test_scaled_frequencies_of_optimum_are_read(tmp_path: Path) -> None:
    """They are a constant of the graph, and so is the factor of cosines and sines."""
    path = built(tmp_path, OPTIMUM)
    plain = opened(path)[0]
    model = onnx.load(path, load_external_data=False)
    frequencies = np.geomspace(1, 1e-5, 8).astype(np.float32)
    made = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type in ("Cos", "Sin"):
            (scale,) = (n for n in model.graph.node if node.output[0] in n.input)
            made[scale.input[1]].attribute[0].t.CopyFrom(numpy_helper.from_array(np.float32(1.5)))
    constant = made["/model/rotary_emb/Expand_output_0"].input[0]
    value = numpy_helper.to_array(made[constant].attribute[0].t)
    made[constant].attribute[0].t.CopyFrom(
        numpy_helper.from_array(frequencies.reshape(value.shape))
    )
    path.write_bytes(model.SerializeToString())
    found = opened(path)[0]
    assert found != plain
    assert "factor = 1.500000e+00" in found
    assert ", ".join(f"{each:.9g}" for each in frequencies[1:3]) in found
