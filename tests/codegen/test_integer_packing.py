"""Weights of integers: what is stored, unpacked element by element as the layout says."""

import ml_dtypes
import numpy as np
import pytest
from xdsl.dialects.builtin import bf16, f32

from sala_compile.codegen.weights import packing
from sala_compile.codegen.weights.packing import packed_weight, pieces
from sala_compile.sala_ir import reference
from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.dialect import (
    CastWeightOp,
    ConcatWeightsOp,
    EncodingAttr,
    InterleaveWeightsOp,
    LayoutAttr,
    PackWeightOp,
    QuantizeWeightOp,
    WeightOp,
    WeightType,
)

PANEL = 64
ENCODINGS = [
    EncodingAttr("int4", 32),
    EncodingAttr("int4", 128),
    EncodingAttr("int4", 32, "stored"),
    EncodingAttr("int8", 128),
]


class Tensors(dict):
    """Stored tensors, plain and as integers, seen by rows."""

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows of a plain tensor."""
        return self[name][start:stop]

    def integers(self, name: str, start: int, stop: int) -> Integers:
        """Rows of a tensor of integers."""
        return self[name].slice(start, stop)


def weight(name: str, *shape: int, encoding: EncodingAttr | None = None):
    return WeightOp(name, WeightType(shape, f32, encoding)).result


def random(*shape: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal(shape)
    return values.astype(ml_dtypes.bfloat16).astype(np.float32)


def stored(value, source, measure=None) -> tuple[dict[str, np.ndarray], EncodingAttr]:
    """The stored tensors of a packed weight by suffix."""
    packed = packed_weight("w", PackWeightOp(value, LayoutAttr.panel(PANEL)).result)
    found: dict[str, list[np.ndarray]] = {}
    for suffix, piece in pieces(packed, source, measure):
        found.setdefault(suffix, []).append(piece.reshape(-1))
    shapes = {part.suffix: (part.shape, part.element.numpy) for part in packed.parts}
    assert tuple(found) == tuple(shapes) == packed.type.encoding.parts
    tensors = {}
    for name, (shape, element) in shapes.items():
        flat = np.concatenate(found[name])
        tensors[name] = flat.view(element).reshape(shape)
    return tensors, packed.type.encoding


def unpacked(tensors, encoding: EncodingAttr, rows: int, columns: int) -> np.ndarray:
    """The values, one element at a time, by the definition of the layout."""
    values = np.zeros((rows, columns))
    scales = tensors["scales"].view(np.float16)
    for n in range(rows):
        panel, row = divmod(n, PANEL)
        for k in range(columns):
            group = k // encoding.group.data
            zero = 1 << (encoding.bits - 1)
            if encoding.stores_zeros:
                zero = int(tensors["zeros"][panel, group, row])
            step = 32 // encoding.bits
            pair, lane = divmod(k % step, 2)
            word = int(tensors["codes"][panel, k // step, row, lane])
            code = word >> (encoding.bits * pair) & (2**encoding.bits - 1)
            values[n, k] = float(scales[panel, group, row]) * (code - zero)
    return values


def rounded(rows: np.ndarray, encoding: EncodingAttr) -> np.ndarray:
    """What the reference makes of the rows, in float64."""
    return reference.quantize_weight(
        rows.astype(np.float64),
        bits=encoding.bits,
        group=encoding.group.data,
        stores_zeros=encoding.stores_zeros,
        rounding=reference.exact,
    )


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda encoding: encoding.label)
def test_panels_hold_what_the_reference_rounds_to(encoding, monkeypatch):
    monkeypatch.setattr(packing, "PIECE_BYTES", 1 << 14)
    source = Tensors(w=random(70, 150) + np.float32(0.25))
    tensors, _ = stored(QuantizeWeightOp(weight("w", 70, 150), encoding, bf16).result, source)
    np.testing.assert_array_equal(
        unpacked(tensors, encoding, 70, 150), rounded(source["w"], encoding)
    )
    assert not tensors["scales"].view(np.float16)[1, :, 70 - PANEL :].any()


def test_merged_and_interleaved_weights_are_those_of_their_parts():
    encoding = EncodingAttr("int4", 32, "stored")
    source = Tensors(a=random(37, 48), b=random(37, 48, seed=1))
    parts = [QuantizeWeightOp(weight(name, 37, 48), encoding, bf16).result for name in "ab"]
    both = ConcatWeightsOp([InterleaveWeightsOp(*parts).result, *parts]).result
    tensors, _ = stored(both, source)
    found = unpacked(tensors, encoding, 96 + 74, 48)
    a, b = (rounded(source[name], encoding) for name in "ab")
    np.testing.assert_array_equal(found[:16], a[:16])
    np.testing.assert_array_equal(found[16:32], b[:16])
    np.testing.assert_array_equal(found[64:69], a[32:])
    np.testing.assert_array_equal(found[96:], np.concatenate([a, b]))
    assert not found[64 + 5 : 64 + 16].any()


def test_stored_integers_are_moved_as_they_are():
    encoding = EncodingAttr("int4", 32, "stored")
    random_source = np.random.default_rng(0)
    integers = Integers.of_groups(
        random_source.integers(0, 16, (70, 96)).astype(np.uint8),
        random_source.uniform(0.01, 1, (70, 3)).astype(np.float16),
        random_source.integers(0, 17, (70, 3)).astype(np.uint8),
    )
    cast = CastWeightOp(weight("w", 70, 96, encoding=encoding), bf16).result
    tensors, _ = stored(cast, Tensors(w=integers))
    found = unpacked(tensors, encoding, 70, 96)
    np.testing.assert_array_equal(found, integers.values(96))


def test_what_is_rounded_is_measured_once():
    seen: dict[str, list[tuple[np.ndarray, Integers]]] = {}

    def measure(name: str, rows: np.ndarray, integers: Integers) -> None:
        seen.setdefault(name, []).append((rows, integers))

    encoding, source = EncodingAttr("int8", 128), Tensors(a=random(200, 64), b=random(200, 64))
    parts = [QuantizeWeightOp(weight(name, 200, 64), encoding, f32).result for name in "ab"]
    stored(InterleaveWeightsOp(*parts).result, source, measure)
    for name in "ab":
        rows = np.concatenate([entry[0] for entry in seen[name]])
        np.testing.assert_array_equal(rows, source[name])
        values = np.concatenate([entry[1].values(64) for entry in seen[name]])
        np.testing.assert_array_equal(values, rounded(source[name], encoding))
