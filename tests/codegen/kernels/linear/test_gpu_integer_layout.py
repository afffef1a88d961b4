"""Weights of integers as GPUs read them: unpacked element by element as the layout says."""

import ml_dtypes
import numpy as np
import pytest
from xdsl.dialects.builtin import bf16, f32

from sala_compile.codegen.weights import packing
from sala_compile.codegen.weights.packing import packed_weight, pieces
from sala_compile.sala_ir import reference
from sala_compile.sala_ir.dialect import (
    EncodingAttr,
    LayoutAttr,
    PackWeightOp,
    QuantizeWeightOp,
    WeightOp,
    WeightType,
)

PANEL = 64


class Tensors(dict):
    """Stored tensors, seen by rows."""

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows of a tensor."""
        return self[name][start:stop]


def unpacked(tensors: dict[str, np.ndarray], encoding: EncodingAttr, rows: int, columns: int):
    """The values, by the definition of the layout."""
    n, k = np.arange(rows)[:, None], np.arange(columns)[None, :]
    count = 16 if encoding.group.data % 64 else 32
    block, inside = np.divmod(k, count * 32 // encoding.bits)
    place, inside = np.divmod(inside, 2 * count)
    pair, half = np.divmod(inside, 2)
    word = pair % 4 * (count // 4) + pair // 4
    words = tensors["codes"].view(np.uint32)[n // PANEL, block, n % PANEL, word]
    shift = (encoding.bits * place + 16 * half).astype(np.uint32)
    codes = words >> shift & ((1 << encoding.bits) - 1)
    group = (n // PANEL, k // encoding.group.data, n % PANEL)
    zeros = tensors["zeros"][group] if encoding.stores_zeros else 1 << (encoding.bits - 1)
    return tensors["scales"].view(np.float16)[group] * (codes.astype(np.float64) - zeros)


@pytest.mark.parametrize(
    "encoding",
    [EncodingAttr("int4", 128), EncodingAttr("int4", 32, "stored"), EncodingAttr("int8", 128)],
    ids=lambda encoding: encoding.label,
)
def test_blocks_hold_what_the_reference_rounds_to(encoding, monkeypatch):
    monkeypatch.setattr(packing, "PIECE_BYTES", 1 << 14)
    values = np.random.default_rng(0).standard_normal((150, 300))
    source = Tensors(w=values.astype(ml_dtypes.bfloat16).astype(np.float32) + np.float32(0.25))
    weight = WeightOp("w", WeightType((150, 300), f32)).result
    quantized = QuantizeWeightOp(weight, encoding, bf16).result
    packed = packed_weight("w", PackWeightOp(quantized, LayoutAttr.block(64)).result)
    found: dict[str, list[np.ndarray]] = {}
    for suffix, piece in pieces(packed, source):
        found.setdefault(suffix, []).append(piece)
    assert len(found["codes"]) == 3
    tensors = {
        part.suffix: np.concatenate(found[part.suffix]).view(part.element.numpy)
        for part in packed.parts
    }
    assert {part.suffix: part.shape for part in packed.parts} == {
        name: tensor.shape for name, tensor in tensors.items()
    }
    expected = reference.quantize_weight(
        source["w"].astype(np.float64),
        bits=encoding.bits,
        group=encoding.group.data,
        stores_zeros=encoding.stores_zeros,
        rounding=reference.exact,
    )
    np.testing.assert_array_equal(unpacked(tensors, encoding, 150, 300), expected)
    assert not tensors["scales"][2, :, 150 - 128 :].any()
