"""Weights that are no numbers, or none that the artifact can hold, are refused where they stand."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from xdsl.dialects.builtin import bf16, f32
from xdsl.ir import SSAValue

from sala_compile.codegen.progress import Silent
from sala_compile.codegen.quantization.cholesky import damped_cholesky
from sala_compile.codegen.quantization.integer_files import IntegerStore
from sala_compile.codegen.quantization.stream import Quantizer
from sala_compile.codegen.weights import finite, packing
from sala_compile.codegen.weights.finite import all_finite
from sala_compile.codegen.weights.packing import packed_weight, pieces
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.errors import CheckpointError, SalaError
from sala_compile.sala_ir.checkpoint.random_checkpoint import write_random_checkpoint
from sala_compile.sala_ir.dialect import (
    CastWeightOp,
    ConcatWeightsOp,
    EncodingAttr,
    InterleaveWeightsOp,
    LayoutAttr,
    PackWeightOp,
    QuantizeWeightOp,
    ScaleWeightOp,
)
from tests.codegen.conftest import SMALL
from tests.codegen.test_packing import Tensors, random, weight
from tests.codegen.test_quantized_models import opened
from tests.support.compiled import compile_checkpoint

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
NONE = (np.nan, -np.nan, np.inf, -np.inf)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch):
    """Weights are packed, and searched, a few rows at a time."""
    monkeypatch.setattr(packing, "PIECE_BYTES", 1 << 13)
    monkeypatch.setattr(finite, "_BLOCK", 1000)


@pytest.mark.parametrize("kind", [BFLOAT16, np.dtype(np.float32)], ids=str)
@pytest.mark.parametrize("size", [1, 7, 131_072, 131_073, 300_001])
def test_every_value_is_looked_at(kind: np.dtype, size: int):
    largest = {2: 3.3895313892515355e38, 4: 3.4028234663852886e38}[kind.itemsize]
    for place in {0, size // 2, size - 1}:
        values = random(size).astype(kind)
        for value in (largest, -largest, 0.0, -0.0, 1e-45, -1e-45):
            values[place] = value
            assert all_finite(values), value
        for value in NONE:
            values[place] = value
            assert not all_finite(values), value
    assert all_finite(np.zeros(0, kind))


def test_all_bits_of_bfloat16_are_told_right():
    values = np.arange(1 << 16, dtype=np.uint16).view(BFLOAT16)
    for value, is_finite in zip(
        values[:, None], np.isfinite(values.astype(np.float32)), strict=True
    ):
        assert all_finite(value) == is_finite


def pack(value: SSAValue, source: Tensors) -> None:
    packed = packed_weight("w", PackWeightOp(value, LayoutAttr.panel(16)).result)
    for _ in pieces(packed, source):
        pass


def refusal(value: SSAValue, source: Tensors) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        pack(value, source)
    return caught.value


@pytest.mark.parametrize("value", NONE)
@pytest.mark.parametrize("element", [f32, bf16])
@pytest.mark.parametrize("place", [(0, 0), (99, 69), (57, 3)])
def test_a_value_that_is_none_is_named_with_its_place(value, element, place):
    source = Tensors(a=random(40, 70), b=random(100, 70), c=random(100, 70))
    source["b"][place] = value
    whole = [
        ConcatWeightsOp([weight("a", 40, 70), weight("b", 100, 70)]).result,
        ConcatWeightsOp([weight("b", 100, 70), weight("c", 100, 70)], axis=1).result,
        InterleaveWeightsOp(weight("c", 100, 70), weight("b", 100, 70), group=16).result,
        ScaleWeightOp(weight("b", 100, 70), factor=0.25).result,
    ]
    for combined in whole:
        error = refusal(CastWeightOp(combined, element).result, source)
        assert error.where == "b"
        assert error.found == f"b holds {float(np.float32(value))} at {list(place)}"


@pytest.mark.parametrize("kind", [np.float32, BFLOAT16], ids=["float32", "bfloat16"])
def test_a_vector_is_looked_at_too(kind):
    source = Tensors(norm=random(50).astype(kind))
    source["norm"][13] = np.nan
    with pytest.raises(CheckpointError, match=r"norm holds nan at \[13\]"):
        list(pieces(packed_weight("w", weight("norm", 50)), source))


def test_a_value_that_bfloat16_does_not_hold_is_refused():
    source = Tensors(a=random(40, 70))
    source["a"][21, 5] = 3.4e38
    pack(weight("a", 40, 70), source)
    error = refusal(CastWeightOp(weight("a", 40, 70), bf16).result, source)
    assert error.where == "a"
    assert "3.39999995e+38" in error.found
    assert "[21, 5], which is infinite in bfloat16" in error.found
    assert "--dtype float32" in (error.fix or "")


def test_a_factor_that_takes_a_weight_out_of_range_is_told():
    source = Tensors(a=np.full((40, 70), 1e30, np.float32))
    error = refusal(ScaleWeightOp(weight("a", 40, 70), factor=1e30).result, source)
    assert "overflow" in error.found
    assert error.where == "a"


@pytest.mark.parametrize(
    ("kind", "group", "fits", "too_large"),
    [("int4", 32, 4.5e5, 4.7e5), ("int4", 128, 4.5e5, 1e6), ("int8", 128, 8.3e6, 8.4e6)],
)
def test_a_value_that_needs_an_infinite_scale_is_refused(kind, group, fits, too_large):
    source = Tensors(a=random(40, 256), b=random(40, 256))
    encoding = EncodingAttr(kind, group)
    value = ConcatWeightsOp(
        [
            QuantizeWeightOp(weight("a", 40, 256), encoding, f32).result,
            QuantizeWeightOp(weight("b", 40, 256), encoding, f32).result,
        ]
    ).result
    source["b"][33, 200] = -fits
    pack(value, source)
    source["b"][33, 200] = -too_large
    error = refusal(value, source)
    assert error.where == "b"
    assert "[33, 200]" in error.found
    assert "a scale that float16 does not hold" in error.found
    for none in NONE:
        source["b"][33, 200] = none
        assert refusal(value, source).found == f"b holds {float(np.float32(none))} at [33, 200]"


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_inner_products_that_are_none_are_no_hang_and_no_crash(value: float):
    matrix = np.eye(600, dtype=np.float32)
    matrix[550, 3] = matrix[3, 550] = value
    matrix[0, 0] = value
    try:
        with np.errstate(all="ignore"):
            damped_cholesky(matrix)
    except np.linalg.LinAlgError:
        return
    assert np.isfinite(np.diagonal(matrix)).all()


def quantised(folder: Path, tensor: str, value: float, row: int = 7) -> None:
    """Round a checkpoint one of whose values is `value`."""

    def adjust(name: str, start: int, rows: np.ndarray) -> np.ndarray:
        if name == tensor and start <= row < start + len(rows):
            rows = rows.copy()
            rows[(row - start, 5) if rows.ndim == 2 else row - start] = value
        return rows

    write_random_checkpoint(folder, SMALL, element="F32", adjust=adjust)
    source = opened(folder, Quantization.INT4_G32)
    store = IntegerStore(folder)
    assert source.checkpoint is not None
    quantizer = Quantizer(source.captured, source.checkpoint, source.integers, store)
    quantizer.run(list(range(1, 60)), Silent().stage("").__enter__())


@pytest.mark.parametrize(
    ("tensor", "value", "told"),
    [
        ("model.layers.0.mlp.up_proj.weight", np.nan, "up_proj.weight holds nan at [7, 5]"),
        ("model.layers.1.self_attn.z_proj.weight", np.inf, "z_proj.weight holds inf at [7, 5]"),
        ("model.layers.1.input_layernorm.weight", np.nan, "norm.weight holds nan at [7]"),
        ("model.embed_tokens.weight", -np.inf, "embed_tokens.weight holds -inf at [7, 5]"),
        ("model.layers.0.mlp.up_proj.weight", 1e6, "a scale that float16 does not hold"),
        ("model.layers.0.input_layernorm.weight", 1e30, "inputs that are not finite"),
    ],
)
def test_calibration_refuses_what_is_none(tmp_path: Path, tensor: str, value: float, told: str):
    with pytest.raises(SalaError) as caught:
        quantised(tmp_path, tensor, value)
    assert told in str(caught.value)
    assert caught.value.where


def test_nothing_is_written_of_a_model_that_is_refused(tmp_path: Path):
    def adjust(name: str, start: int, rows: np.ndarray) -> np.ndarray:
        rows = rows.copy()
        if name.endswith("1.self_attn.k_proj.weight"):
            rows.view(np.uint8)[...] = 0xFF
        return rows

    checkpoint = write_random_checkpoint(tmp_path / "model", SMALL, element="F32", adjust=adjust)
    with pytest.raises(CheckpointError, match=r"k_proj.weight holds nan at \[0, 0\]"):
        compile_checkpoint(checkpoint, tmp_path / "model.sala")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
