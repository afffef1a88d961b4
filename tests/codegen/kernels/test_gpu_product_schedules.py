"""The tiles that the product takes, for the heads and blocks of the released model.

Other tests take small tiles; here every kernel has its default schedule, at sizes where it fits.
"""

from dataclasses import replace

import numpy as np
import pytest

from sala_compile.codegen.kernels.lightning_attention.gpu import kernel as lightning_attention
from sala_compile.codegen.kernels.linear.gpu.spec import LinearForm, Spec, default_tiles
from sala_compile.codegen.kernels.select_blocks.gpu import kernel as select_blocks
from sala_compile.codegen.kernels.tir.element import Element
from tests.codegen.kernels.attend_blocks import test_gpu as attend
from tests.codegen.kernels.lightning_attention import test_gpu as lightning
from tests.codegen.kernels.linear import test_gpu as linear
from tests.codegen.kernels.select_blocks import test_gpu as select
from tests.support.gpu_layer import GpuLayer
from tests.support.interpreted import TARGET
from tests.support.lightning import spec_of as lightning_spec
from tests.support.sparse_layer import SparseCase
from tests.support.steps import step

BF16 = Element.BF16
ROWS = {"form": LinearForm.ROWS}
INT4 = {"bits": 4, "group": 128}
LINEARS: dict[str, tuple[Spec, int]] = {
    "int4 swiglu rows": (
        linear.spec_of(
            512, 256, BF16, swiglu=True, output=BF16, extent="logit_rows", **ROWS, **INT4
        ),
        5,
    ),
    "int4 rows in parts": (linear.spec_of(4096, 128, BF16, residual_pitch=128, **ROWS, **INT4), 5),
    "int8 rows": (linear.spec_of(512, 200, BF16, bits=8, group=128, **ROWS), 3),
    "bf16 swiglu rows": (
        linear.spec_of(512, 256, BF16, swiglu=True, output=BF16, extent="logit_rows", **ROWS),
        5,
    ),
    "int4 swiglu tiles": (linear.spec_of(256, 512, BF16, swiglu=True, output=BF16, **INT4), 130),
    "bf16 tiles": (linear.spec_of(256, 300, BF16, residual_pitch=304), 140),
}
# Heads, KV heads, head dimension, block, stride as released; a smaller budget and dense length.
RELEASED = SparseCase(32, 2, 128, 64, 16, BF16, BF16, init=1, window=4, topk=6, dense_len=512)


@pytest.mark.parametrize("name", LINEARS)
def test_linears(name: str) -> None:
    spec, rows = LINEARS[name]
    problem = linear.Problem(spec, rows)
    linear.check(problem, problem.run(default_tiles(spec, TARGET)))


@pytest.mark.parametrize("norm", [True, False])
def test_lightning_attention_in_tf32(norm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    heads = lightning_spec(lightning_attention.Spec, 2, 2, 128, norm=norm, rope=True)
    spec = replace(heads, products=lightning_attention.Products.TF32, out_element=BF16)
    schedule = replace(lightning_attention.FAMILY.default_schedule(spec, TARGET), segment=128)
    monkeypatch.setattr(lightning, "close", _close_in_tf32)
    lightning.check(spec, step((150, 3), (0, 9)), schedule)


def _close_in_tf32(found: np.ndarray, expected: np.ndarray) -> bool:
    """Within the rounding of operands to 11 bits and of the output to 8."""
    largest = np.abs(expected).max()
    return bool(np.abs(lightning.exact(found) - expected).max() <= 2e-2 * largest)


def _layer(decode: bool) -> GpuLayer:
    if decode:
        batch = step((1, 1), (1100, 700), seed=3, block_size=64, context=1280)
    else:
        batch = step((5, 3), (1100, 70), call_lengths=(1105, 300), block_size=64, context=1280)
    return GpuLayer.random(RELEASED, batch, seed=1)


@pytest.mark.parametrize("decode", [True, False])
def test_selection(decode: bool) -> None:
    layer = _layer(decode)
    default = select_blocks.FAMILY.default_schedule(select.spec_of(RELEASED, decode=decode), TARGET)
    # Scores of 1280 tokens in two parts, as those of long texts are.
    parts = replace(default, splits=2, width=256)
    select.check(layer, *select.select(layer, parts, decode=decode))


def _attend(layer: GpuLayer, lists: attend.Lists | None, *, decode: bool) -> None:
    found = attend.attend(layer, lists, decode=decode, product=True)
    attend.check(layer, lists, found)


@pytest.mark.parametrize("decode", [True, False])
def test_attention(decode: bool) -> None:
    layer = _layer(decode)
    _attend(layer, attend.lists_of(layer), decode=decode)


def test_attention_of_a_whole_past() -> None:
    """The programs that share it, some of which have nothing."""
    _attend(_layer(True), None, decode=True)
