"""Weights of integers as GPUs read them: unpacked element by element as the layout says."""

import ml_dtypes
import numpy as np
import pytest
from xdsl.dialects.builtin import bf16, f32

from codegen import packing
from codegen.packing import packed_weight, pieces
from sala_ir import reference
from sala_ir.dialect import (
    EncodingAttr,
    LayoutAttr,
    LayoutKind,
    PackWeightOp,
    QuantizeWeightOp,
    WeightOp,
    WeightType,
)


class Tensors(dict):
    """Stored tensors, seen by rows."""

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows of a tensor."""
        return self[name][start:stop]


def unpacked(tensors: dict[str, np.ndarray], encoding: EncodingAttr, columns: int) -> np.ndarray:
    """The values [N, columns], by the definition of the layout."""
    k = np.arange(columns)
    if encoding.bits == 8:
        codes = tensors["codes"][k]
    else:
        codes = tensors["codes"][k // 8] >> (4 * (k % 8))[:, None] & 15
    group = k // encoding.group.data
    zeros = tensors["zeros"][group] if encoding.stores_zeros else 1 << (encoding.bits - 1)
    scales = tensors["scales"].view(np.float16)[group].astype(np.float64)
    return (scales * (codes.astype(np.float64) - zeros)).T


@pytest.mark.parametrize(
    "encoding",
    [
        EncodingAttr("int4", 128),
        EncodingAttr("int4", 32, "stored"),
        EncodingAttr("int8", 128),
    ],
    ids=lambda encoding: encoding.label,
)
def test_columns_hold_what_the_reference_rounds_to(encoding, monkeypatch):
    monkeypatch.setattr(packing, "PIECE_BYTES", 1 << 14)
    values = np.random.default_rng(0).standard_normal((70, 150))
    source = Tensors(w=values.astype(ml_dtypes.bfloat16).astype(np.float32) + np.float32(0.25))
    weight = WeightOp("w", WeightType((70, 150), f32)).result
    quantized = QuantizeWeightOp(weight, encoding, bf16).result
    packed = packed_weight("w", PackWeightOp(quantized, LayoutAttr(LayoutKind.TRANSPOSED)).result)
    tensors = dict(pieces(packed, source))
    for part in packed.parts:
        tensors[part.suffix] = tensors[part.suffix].view(part.element.numpy)
        assert tensors[part.suffix].shape == part.shape
    expected = reference.quantize_weight(
        source["w"].astype(np.float64),
        bits=encoding.bits,
        group=encoding.group.data,
        stores_zeros=encoding.stores_zeros,
        rounding=reference.exact,
    )
    found = unpacked(tensors, encoding, 150)
    np.testing.assert_array_equal(found[:70], expected)
    assert found.shape[0] == 80
    assert not tensors["scales"][:, 70:].any()
