"""Published checkpoints of 4 bits: words of every layout, unpacked here one value at a time."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.quantized import published_integers
from sala_compile.sala_ir.checkpoint.quantized.integer_groups import PublishedTensor
from sala_compile.sala_ir.frontends import frontend_for
from tests.support.checkpoints import LIGHTNING, SPARSE, tiny_config

CONFIG = tiny_config(mixers=(SPARSE, LIGHTNING), hidden=64, intermediate=96)
EXPECTED = frontend_for(CONFIG).expected_tensors(frontend_for(CONFIG).parse_config(CONFIG))
WEIGHT = "model.layers.1.mlp.down_proj.weight"
MODULE = WEIGHT.removesuffix(".weight")
ROWS, COLUMNS = EXPECTED[WEIGHT]
AWQ_ORDER = {0: 0, 1: 4, 2: 1, 3: 5, 4: 2, 5: 6, 6: 3, 7: 7}
"""Output of a word -> which four bits hold it, as the format's documents list them."""

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True, "desc_act": False}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}


def packed(weights: dict[str, Any], **top: Any) -> dict[str, Any]:
    """A configuration of compressed-tensors."""
    usual = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True}
    group = {"weights": usual | weights, "targets": ["Linear"], "input_activations": None}
    kind = {"quant_method": "compressed-tensors", "format": "pack-quantized"}
    return kind | {"config_groups": {"group_0": group}, "ignore": ["lm_head"]} | top


def words(*shape: int, seed: int = 0) -> np.ndarray:
    """Any 32 bits."""
    random = np.random.default_rng(seed)
    return random.integers(-(2**31), 2**31, shape, dtype=np.int64).astype(np.int32)


def halves(*shape: int) -> np.ndarray:
    return np.random.default_rng(9).uniform(0.001, 0.1, shape).astype(np.float16)


def gptq_parts(group: int = 32, zeros: np.ndarray | None = None) -> dict[str, np.ndarray]:
    groups = COLUMNS // group
    middle = np.full((groups, ROWS // 8), 0x77777777, np.int32)
    return {
        "qweight": words(COLUMNS // 8, ROWS),
        "qzeros": middle if zeros is None else zeros,
        "scales": halves(groups, ROWS),
        "g_idx": (np.arange(COLUMNS) // group).astype(np.int32),
    }


def write(folder: Path, quantization: dict[str, Any], parts: dict[str, np.ndarray]) -> Checkpoint:
    """A checkpoint in which one weight consists of `parts`."""
    tensors = {name: np.zeros(shape, np.float32) for name, shape in EXPECTED.items()}
    del tensors[WEIGHT]
    tensors |= {f"{MODULE}.{name}": values for name, values in parts.items()}
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": quantization}))
    return Checkpoint.open(folder)


def bits(word: Any, index: int) -> int:
    """The unsigned integer in bits 4 index to 4 index + 3."""
    return (int(word) & 0xFFFFFFFF) >> (4 * index) & 15


def check(checkpoint: Checkpoint, value: Any, label: str) -> None:
    """Every value is what the format's definition says, and the rest of the file is accounted for.

    `value(n, k)` gives (scale, integer less zero).
    """
    found = published_integers(checkpoint, EXPECTED)
    assert found is not None
    assert {name: encoding.label for name, encoding in found.encodings.items()} == {WEIGHT: label}
    values = found.read(WEIGHT, 0, ROWS).values(COLUMNS)
    for n in range(ROWS):
        for k in range(COLUMNS):
            scale, steps = value(n, k)
            assert values[n, k] == np.float32(scale) * np.float32(steps), (n, k)
    part = found.read(WEIGHT, 5, 9).values(COLUMNS)
    np.testing.assert_array_equal(part, values[5:9])
    checkpoint.check({n: s for n, s in EXPECTED.items() if n not in found}, found.members)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("named", [True, False])
def test_symmetric_gptq_of_both_versions(tmp_path, version, named):
    zero = 0x77777777 if version == 1 else -0x77777778
    parts = gptq_parts(zeros=np.full((3, ROWS // 8), zero, np.int32))
    field = {"checkpoint_format": "gptq" if version == 1 else "gptq_v2"} if named else {}
    checkpoint = write(tmp_path, GPTQ | field, parts)

    def value(n: int, k: int) -> tuple[Any, int]:
        return parts["scales"][k // 32, n], bits(parts["qweight"][k // 8, n], k % 8) - 8

    check(checkpoint, value, "int4-g32")


@pytest.mark.parametrize(("version", "group"), [(1, 32), (2, 32), (2, 96)])
def test_asymmetric_gptq(tmp_path, version, group):
    zeros = words(COLUMNS // group, ROWS // 8, seed=1)
    if version == 1:
        zeros &= np.int32(0x77777777)  # no stored zero is 15
    parts = gptq_parts(group, zeros)
    size = -1 if group == COLUMNS else group
    field = {"sym": False, "checkpoint_format": "gptq" if version == 1 else "gptq_v2"}
    checkpoint = write(tmp_path, GPTQ | field | {"group_size": size}, parts)

    def value(n: int, k: int) -> tuple[Any, int]:
        zero = bits(zeros[k // group, n // 8], n % 8) + (1 if version == 1 else 0)
        return parts["scales"][k // group, n], bits(parts["qweight"][k // 8, n], k % 8) - zero

    check(checkpoint, value, "int4-g32-zeros")


def test_awq(tmp_path):
    parts = {
        "qweight": words(COLUMNS, ROWS // 8),
        "qzeros": words(3, ROWS // 8, seed=1),
        "scales": halves(3, ROWS),
    }

    def value(n: int, k: int) -> tuple[Any, int]:
        place = AWQ_ORDER[n % 8]
        code = bits(parts["qweight"][k, n // 8], place)
        return parts["scales"][k // 32, n], code - bits(parts["qzeros"][k // 32, n // 8], place)

    check(write(tmp_path, AWQ, parts), value, "int4-g32-zeros")


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group", [32, COLUMNS])
def test_compressed_tensors(tmp_path, symmetric, group):
    groups = COLUMNS // group
    parts = {
        "weight_packed": words(ROWS, COLUMNS // 8),
        "weight_scale": halves(ROWS, groups),
        "weight_shape": np.array([ROWS, COLUMNS], np.int64),
    }
    if not symmetric:
        parts["weight_zero_point"] = words(ROWS // 8, groups, seed=1)
    strategy = {"strategy": "group"} if group == 32 else {"strategy": "channel", "group_size": None}
    checkpoint = write(tmp_path, packed(strategy | {"symmetric": symmetric}), parts)

    def value(n: int, k: int) -> tuple[Any, int]:
        code = bits(parts["weight_packed"][n, k // 8], k % 8) - 8
        if symmetric:
            return parts["weight_scale"][n, k // group], code
        zero = bits(parts["weight_zero_point"][n // 8, k // group], n % 8) - 8
        return parts["weight_scale"][n, k // group], code - zero

    check(checkpoint, value, "int4-g32" + "-zeros" * (not symmetric))


@pytest.mark.parametrize(
    ("columns", "group", "label", "groups"),
    [
        (200, 200, "int4-g128", 2),
        (512, 256, "int4-g128", 4),
        (128, 64, "int4-g32", 4),
        (96, 96, "int4-g32", 3),
    ],
)
def test_groups_become_those_that_kernels_read(columns, group, label, groups):
    codes = np.random.default_rng(0).integers(0, 16, (3, columns)).astype(np.uint8)
    scales = halves(3, columns // group)
    parts = {"codes": lambda: codes, "scales": lambda: scales, "zeros": None}
    tensor = PublishedTensor("w", (3, columns), group, (), **parts)
    tensor.check()
    assert tensor.encoding.label == label
    found = tensor.whole()
    assert found.scales.shape == (3, groups)
    wanted = np.repeat(scales.astype(np.float32), group, axis=1) * (codes - np.float32(8))
    np.testing.assert_array_equal(found.values(columns), wanted)
    assert (found.values(found.codes.shape[1])[:, columns:] == 0).all()


def refused(folder: Path, quantization: dict[str, Any], parts: dict[str, np.ndarray]) -> str:
    with pytest.raises(CheckpointError) as caught:
        published_integers(write(folder, quantization, parts), EXPECTED)
    return str(caught.value)


def test_versions_that_nothing_tells_apart_are_refused(tmp_path):
    unnamed = GPTQ | {"sym": False}
    assert "version 1 or 2" in refused(tmp_path, unnamed, gptq_parts())
    mixed = gptq_parts(zeros=words(3, ROWS // 8))
    assert "version 1 or 2" in refused(tmp_path, GPTQ, mixed)
    wrong = GPTQ | {"checkpoint_format": "gptq_v2"}
    assert "a zero is 7 in a symmetric checkpoint" in refused(tmp_path, wrong, gptq_parts())
    borrowed = GPTQ | {"sym": False, "checkpoint_format": "gptq"}
    parts = gptq_parts(zeros=np.full((3, ROWS // 8), -1, np.int32))
    found = write(tmp_path, borrowed, parts)
    with pytest.raises(CheckpointError, match="a stored zero is 15"):
        published_integers(found, EXPECTED)


def test_what_is_not_known_to_the_bit_is_refused(tmp_path):
    permuted = gptq_parts()
    permuted["g_idx"] = np.random.default_rng(0).permutation(permuted["g_idx"])
    assert "order of their activations" in refused(tmp_path, GPTQ | {"desc_act": True}, permuted)
    assert "bits is 3" in refused(tmp_path, GPTQ | {"bits": 3}, gptq_parts())
    assert "marlin" in refused(tmp_path, GPTQ | {"checkpoint_format": "marlin"}, gptq_parts())
    assert "'bitsandbytes' is not supported" in refused(
        tmp_path, {"quant_method": "bitsandbytes"}, gptq_parts()
    )
    assert "version is 'GEMV'" in refused(tmp_path, AWQ | {"version": "GEMV"}, {})
    short = gptq_parts()
    short["scales"] = halves(2, ROWS)
    assert "the tensor is F16 [2, 64]" in refused(tmp_path, GPTQ, short)
    fine = gptq_parts()
    fine["scales"] = fine["scales"].astype(np.float32) + np.float32(1e-9)
    assert "scales that float16 represents" in refused(tmp_path, GPTQ, fine)
    assert "num_bits is 8" in refused(tmp_path, packed({"num_bits": 8}), {})
    assert "a scale stands for 48 values" in refused(
        tmp_path,
        GPTQ | {"group_size": 48, "checkpoint_format": "gptq"},
        gptq_parts(48, np.full((2, ROWS // 8), 0x77777777, np.int32)),
    )


def test_skipped_modules_are_told_by_their_tensors(tmp_path):
    negative = {"-:.*self_attn.(qkv_proj|q_proj)$": {}, r"-:.*\.z_proj": {}}
    found = published_integers(
        write(tmp_path, GPTQ | {"dynamic": negative}, gptq_parts()), EXPECTED
    )
    assert found is not None
    assert list(found.encodings) == [WEIGHT]
    contrary = {"-:.*down_proj$": {}}
    text = refused(tmp_path, GPTQ | {"dynamic": contrary}, gptq_parts())
    assert "is quantised, and the configuration says that it is not" in text
    wider = {"+:.*down_proj$": {"bits": 8}}
    assert "bits is 8" in refused(tmp_path, GPTQ | {"dynamic": wider}, gptq_parts())


def test_a_foreign_bias_of_zeros_is_passed_over(tmp_path):
    checkpoint = write(tmp_path, GPTQ, gptq_parts() | {"bias": np.zeros(ROWS, np.float16)})
    found = published_integers(checkpoint, EXPECTED)
    assert found is not None
    assert f"{MODULE}.bias" in found.members
    checkpoint = write(tmp_path, GPTQ, gptq_parts() | {"bias": np.ones(ROWS, np.float16)})
    found = published_integers(checkpoint, EXPECTED)
    assert found is not None
    with pytest.raises(CheckpointError, match="unexpected"):
        checkpoint.check({n: s for n, s in EXPECTED.items() if n not in found}, found.members)


def test_a_plain_checkpoint_has_none(tmp_path):
    tensors = {name: np.zeros(shape, np.float32) for name, shape in EXPECTED.items()}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert published_integers(Checkpoint.open(tmp_path), EXPECTED) is None
