"""Configurations of published integers: every field at values of every kind."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.quantized import PublishedIntegers, published_integers
from sala_compile.sala_ir.checkpoint.quantized import known_fields as known
from tests.sala_ir.test_published import (
    AWQ,
    COLUMNS,
    EXPECTED,
    GPTQ,
    MODULE,
    ROWS,
    WEIGHT,
    gptq_parts,
    halves,
    packed,
    words,
    write,
)

ANYTHING = (
    *(None, True, False, 0, -1, -2, 1, 4, 32, 2**31, 10**60, 0.5, "", "32", "Linear", [], [1]),
    *([None], ["Linear"], {}, {"a": 1}, {"a": {}}, {"W4A16": ["Linear"]}, [[]], [{}]),
)
"""Values of every kind of JSON."""


def awq_parts() -> dict[str, np.ndarray]:
    shapes = {"qweight": (COLUMNS, ROWS // 8), "qzeros": (3, ROWS // 8)}
    return {name: words(*shape) for name, shape in shapes.items()} | {"scales": halves(3, ROWS)}


def packed_parts(group: int = 32) -> dict[str, np.ndarray]:
    return {
        "weight_packed": words(ROWS, COLUMNS // 8),
        "weight_scale": halves(ROWS, -(-COLUMNS // group)),
        "weight_shape": np.array([ROWS, COLUMNS], np.int64),
    }


FORMATS = {
    "gptq": (GPTQ, gptq_parts(), known.GPTQ),
    "awq": (AWQ, awq_parts(), known.AWQ),
    "compressed": (packed({}), packed_parts(), known.COMPRESSED),
}


Outcome = PublishedIntegers | CheckpointError | None


def read(checkpoint: Checkpoint, quantization: Any) -> Outcome:
    """What the configuration gives: integers, or the one error that may be raised."""
    config = dict(checkpoint.config) | {"quantization_config": quantization}
    trial = Checkpoint(checkpoint.directory, config, checkpoint.tensors)
    try:
        return published_integers(trial, EXPECTED)
    except CheckpointError as error:
        return error


def found(folder: Path, quantization: Any, parts: dict[str, np.ndarray]) -> Outcome:
    """The same, for a new checkpoint."""
    return read(write(folder, quantization, parts), quantization)


def count_refused(checkpoint: Checkpoint, configurations: Iterator[Any]) -> tuple[int, int]:
    """How many of them are taken and refused, each refusal with one short message and a place."""
    outcomes = [read(checkpoint, fields) for fields in configurations]
    errors = [outcome for outcome in outcomes if isinstance(outcome, CheckpointError)]
    assert all(error.where and len(str(error)) < 2000 for error in errors)
    return len(outcomes) - len(errors), len(errors)


@pytest.mark.parametrize("name", FORMATS)
def test_any_value_of_any_field_is_taken_or_refused(tmp_path: Path, name: str):
    fields, parts, rules = FORMATS[name]
    taken, refused = count_refused(
        write(tmp_path, fields, parts),
        (fields | {field: value} for field in (*rules, "colour") for value in ANYTHING),
    )
    assert taken > 100
    assert refused > 100


@pytest.mark.parametrize("level", ["group", "weights", "transform", "place", "sparsity", "preset"])
def test_any_value_deep_in_compressed_tensors_is_taken_or_refused(tmp_path: Path, level: str):
    checkpoint = write(tmp_path, packed({}), packed_parts())
    base = packed({})
    group = base["config_groups"]["group_0"]
    place = {"targets": ["Linear"], "location": "weight_input"}

    def changed(field: str, value: Any) -> dict[str, Any]:
        match level:
            case "group":
                return base | {"config_groups": {"group_0": group | {field: value}}}
            case "weights":
                inner = group | {"weights": group["weights"] | {field: value}}
                return base | {"config_groups": {"group_0": inner}}
            case "transform":
                inner = {"type": "hadamard", "apply": [place], field: value}
                return base | {"transform_config": {"config_groups": {"R1": inner}}}
            case "place":
                inner = {"type": "hadamard", "apply": [place | {field: value}]}
                return base | {"transform_config": {"config_groups": {"R1": inner}}}
            case "sparsity":
                return base | {"sparsity_config": {"format": "dense", field: value}}
        return base | {"config_groups": {field: value}}

    tables = {
        "group": known.SCHEME,
        "weights": known.WEIGHTS,
        "transform": known.TRANSFORM,
        "place": known.PLACE,
        "sparsity": known.SPARSITY,
        "preset": {"W4A16": 0, "w4a16_asym": 0, "W8A8": 0, "UNQUANTIZED": 0, "group_1": 0},
    }
    taken, refused = count_refused(
        checkpoint,
        (changed(field, value) for field in (*tables[level], "colour") for value in ANYTHING),
    )
    assert refused > 0
    assert taken > 0 or level == "preset"


@pytest.mark.parametrize("value", [[], "gptq", 4, True, {}, {"quant_method": 4}, [{"bits": 4}]])
def test_a_configuration_that_is_no_object_or_names_no_method(tmp_path: Path, value: Any):
    assert isinstance(found(tmp_path, value, gptq_parts()), CheckpointError)


ONLINE = {"type": "hadamard", "apply": [{"targets": ["x"], "location": "input"}]}
OFFLINE = {
    "type": "random-hadamard",
    "apply": [
        {"targets": ["x"], "location": "weight_output", "inverse": True, "ignore": []},
        {"targets": "x", "location": "weight_input"},
    ],
}
EIGHT_BITS = {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True}


def in_group(**fields: Any) -> dict[str, Any]:
    base = packed({})
    return {"config_groups": {"group_0": base["config_groups"]["group_0"] | fields}}


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("location", {"transform_config": {"config_groups": {"R4": ONLINE}}}),
        ("output_activations", in_group(output_activations=EIGHT_BITS)),
        ("input_activations", in_group(input_activations=EIGHT_BITS)),
        ("kv_cache_scheme", {"kv_cache_scheme": {"num_bits": 8, "type": "float"}}),
        ("format", {"sparsity_config": {"format": "sparse-24-bitmask"}}),
        ("moe_sparsity_config", {"moe_sparsity_config": {"a": 1}}),
        ("format", {"format": "int-quantized"}),
        ("format", {"format": None}),
        ("format", in_group(format="marlin-24")),
        ("W8A8", {"config_groups": {"W8A8": ["Linear"]}}),
        ("no group", {"config_groups": {}}),
        ("no group", {"config_groups": {"UNQUANTIZED": ["Linear"]}}),
    ],
)
def test_what_changes_the_model_is_refused_by_name(
    tmp_path: Path, field: str, change: dict[str, Any]
):
    error = found(tmp_path, packed({}) | change, packed_parts())
    assert isinstance(error, CheckpointError)
    assert field in str(error)


@pytest.mark.parametrize(
    "change",
    [
        {"transform_config": {"config_groups": {"R1": OFFLINE}}},
        {"transform_config": {}},
        {"sparsity_config": {}},
        {"sparsity_config": {"format": "dense", "targets": [], "global_sparsity": 0.1}},
        {"kv_cache_scheme": None, "moe_sparsity_config": None, "ignore": None},
        {"quantization_status": "frozen", "global_compression_ratio": 1.5, "version": "0.20.1"},
        in_group(output_activations=None, format="pack-quantized"),
    ],
)
def test_what_changes_nothing_is_taken(tmp_path: Path, change: dict[str, Any]):
    integers = found(tmp_path, packed({}) | change, packed_parts())
    assert isinstance(integers, PublishedIntegers)
    assert integers.notes == ()


@pytest.mark.parametrize("preset", ["W4A16", "w4a16"])
def test_presets_are_the_schemes_that_they_name(tmp_path: Path, preset: str):
    fields = packed({}) | {"config_groups": {preset: ["Linear"], "UNQUANTIZED": ["re:.*gate"]}}
    integers = found(tmp_path, fields, packed_parts(128))
    assert isinstance(integers, PublishedIntegers)
    assert integers.encodings[WEIGHT].label == "int4-g128"


def test_groups_that_differ_only_in_what_has_no_effect_are_one(tmp_path: Path):
    one = packed({})["config_groups"]["group_0"]
    other = one | {"weights": one["weights"] | {"observer": "mse", "symmetric": None}}
    fields = packed({}) | {"config_groups": {"a": one, "b": other}}
    assert isinstance(found(tmp_path, fields, packed_parts()), PublishedIntegers)
    other = one | {"weights": one["weights"] | {"symmetric": False}}
    fields = packed({}) | {"config_groups": {"a": one, "b": other}}
    assert "2 groups of modules" in str(found(tmp_path, fields, packed_parts()))


def test_an_order_that_no_tensor_tells_is_refused(tmp_path: Path):
    parts = gptq_parts()
    del parts["g_idx"]
    assert isinstance(found(tmp_path, GPTQ, parts), PublishedIntegers)
    assert "order of their activations" in str(found(tmp_path, GPTQ | {"desc_act": True}, parts))
    static = GPTQ | {"desc_act": True, "static_groups": True}
    assert isinstance(found(tmp_path, static, parts), PublishedIntegers)
    fields = packed({"actorder": "group"})
    assert "order of their activations" in str(found(tmp_path, fields, packed_parts()))
    for order in ("static", "weight", False):
        fields = packed({"actorder": order})
        assert isinstance(found(tmp_path, fields, packed_parts()), PublishedIntegers)


def test_unknown_fields_are_told_in_one_note(tmp_path: Path):
    integers = found(tmp_path, GPTQ | {"colour": 1, "shape": 2}, gptq_parts())
    assert isinstance(integers, PublishedIntegers)
    (note,) = integers.notes
    assert "quantization_config" in note
    assert "colour, shape" in note
    deep = packed({"colour": 1}) | {"shape": 1}
    integers = found(tmp_path, deep, packed_parts())
    assert isinstance(integers, PublishedIntegers)
    assert "shape, config_groups.group_0.weights.colour" in integers.notes[0]


def test_names_of_autoawq(tmp_path: Path):
    fields = {"quant_method": "awq", "w_bit": 4, "q_group_size": 32, "zero_point": True}
    integers = found(tmp_path, fields | {"version": "GEMM"}, awq_parts())
    assert isinstance(integers, PublishedIntegers)
    error = found(tmp_path, fields | {"group_size": 64}, awq_parts())
    assert "disagree: group_size 64, q_group_size 32" in str(error)
    assert isinstance(
        found(tmp_path, AWQ | {"backend": "exllama_v2"}, awq_parts()), PublishedIntegers
    )
    assert "backend is 'llm-awq'" in str(found(tmp_path, AWQ | {"backend": "llm-awq"}, awq_parts()))


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*$", "([a-z.]*)*x", "(.*)*(.*)*(.*)*x$"])
def test_patterns_that_a_backtracking_engine_never_ends(tmp_path: Path, pattern: str):
    module = "a" * 40
    parts = gptq_parts()
    for body in (pattern, f"(?:{pattern})|{module}"):
        fields = GPTQ | {"dynamic": {f"-:{body}": {}}}
        assert found(tmp_path, fields, parts) is not None


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("*x(", "not one that RE2 reads"),
        (r"(a)\1", "look-around and back references"),
        ("(?!x)y", "look-around and back references"),
        ("a" * 1001, "1001 characters"),
        ("((((a{100}){100}){100}){100})", "not one that RE2 reads"),
        ("[" * 900, "not one that RE2 reads"),
        ("\U0001f600(", "not one that RE2 reads"),
    ],
)
def test_patterns_that_are_refused(tmp_path: Path, pattern: str, told: str):
    error = found(tmp_path, GPTQ | {"dynamic": {f"+:{pattern}": {"bits": 4}}}, gptq_parts())
    assert told in str(error)


def test_many_patterns_are_refused(tmp_path: Path):
    many = {f"+:x{index}": {} for index in range(1025)}
    assert "1025 patterns" in str(found(tmp_path, GPTQ | {"dynamic": many}, gptq_parts()))


def test_what_dynamic_changes_is_checked_as_the_rest_is(tmp_path: Path):
    parts = gptq_parts(96)
    fields = GPTQ | {"dynamic": {"+:.*down_proj": {"group_size": 96, "desc_act": None}}}
    assert isinstance(found(tmp_path, fields, parts), PublishedIntegers)
    for changes in ({"group_size": "96"}, {"sym": 1}, [], "x", 4, {"bits": 8}):
        fields = GPTQ | {"dynamic": {"+:.*down_proj": changes}}
        assert isinstance(found(tmp_path, fields, parts), CheckpointError)


SIDE = {"bits": 4, "group_size": 32, "sym": True, "desc_act": False}


def with_side_file(
    folder: Path, name: str, fields: dict[str, Any], parts: dict[str, np.ndarray]
) -> Any:
    checkpoint = write(folder, None, parts)  # type: ignore[arg-type]
    (folder / name).write_text(json.dumps(fields))
    return published_integers(checkpoint, EXPECTED)


def test_a_configuration_in_a_file_of_its_own_is_read(tmp_path: Path):
    named = SIDE | {"quant_method": "gptq", "checkpoint_format": "gptq"}
    integers = with_side_file(tmp_path, "quantize_config.json", named, gptq_parts())
    assert integers.scheme == "GPTQ version 1"
    assert "quantize_config.json" in integers.notes[0]
    del named["quant_method"]
    integers = with_side_file(tmp_path, "quantize_config.json", named, gptq_parts())
    assert integers.scheme == "GPTQ version 1"
    awq = {"w_bit": 4, "q_group_size": 32, "zero_point": True, "version": "GEMM"}
    (tmp_path / "quantize_config.json").unlink()
    integers = with_side_file(tmp_path, "quant_config.json", awq, awq_parts())
    assert integers.scheme == "AWQ gemm"


def test_a_file_that_names_no_format_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="which format") as caught:
        with_side_file(tmp_path, "quantize_config.json", SIDE, gptq_parts())
    assert "quantize_config.json" in str(caught.value.where)
    assert "quant_method" in str(caught.value.fix)


@pytest.mark.parametrize("parts", [gptq_parts(), packed_parts()], ids=["gptq", "compressed"])
def test_quantised_tensors_that_nothing_describes_are_refused(tmp_path: Path, parts: Any):
    with pytest.raises(CheckpointError, match="part of a quantised weight"):
        published_integers(write(tmp_path, None, parts), EXPECTED)  # type: ignore[arg-type]


def test_a_description_of_a_plain_checkpoint_is_refused(tmp_path: Path):
    from safetensors.numpy import save_file

    checkpoint = write(tmp_path, GPTQ, gptq_parts())
    tensors = {name: np.zeros(shape, np.float32) for name, shape in EXPECTED.items()}
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="no weight is stored as integers"):
        published_integers(Checkpoint.open(checkpoint.directory), EXPECTED)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", FORMATS)
def test_scales_that_are_not_finite_are_refused(tmp_path: Path, name: str, value: float):
    fields, parts, _ = FORMATS[name]
    scale = "weight_scale" if name == "compressed" else "scales"
    scales = parts[scale].copy()
    scales[(5, 2) if name == "compressed" else (2, 5)] = value
    error = found(tmp_path, fields, parts | {scale: scales})
    assert isinstance(error, CheckpointError)
    assert error.where == MODULE
    assert "row 5, group 2" in error.found


def test_a_norm_with_parts_of_integers_is_no_matrix(tmp_path: Path):
    checkpoint = write(tmp_path, GPTQ, gptq_parts())
    tensors = dict(checkpoint.tensors)
    tensors["model.norm.qweight"] = tensors[f"{MODULE}.qweight"]
    del tensors["model.norm.weight"]
    trial = Checkpoint(checkpoint.directory, checkpoint.config, tensors)
    integers = published_integers(trial, EXPECTED)
    assert integers is not None
    with pytest.raises(CheckpointError, match="missing"):
        trial.check({n: s for n, s in EXPECTED.items() if n not in integers}, integers.members)
