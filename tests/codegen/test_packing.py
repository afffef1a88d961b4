"""Weight expressions read by rows, and the layouts that they are packed into."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import bf16, f32

from sala_compile.codegen.weights import packing
from sala_compile.codegen.weights.expressions import packed_rows
from sala_compile.codegen.weights.packing import packed_weight, pieces
from sala_compile.codegen.weights.weight_table import WeightTable
from sala_compile.sala_ir.dialect import (
    CastWeightOp,
    ConcatWeightsOp,
    InterleaveWeightsOp,
    LayoutAttr,
    OffsetWeightOp,
    PackWeightOp,
    ScaleWeightOp,
    SliceWeightOp,
    WeightOp,
    WeightType,
)


class Tensors(dict):
    """Stored tensors, seen by rows."""

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows of a tensor."""
        return self[name][start:stop]


def weight(name: str, *shape: int):
    """A tensor of the checkpoint."""
    return WeightOp(name, WeightType(shape, f32)).result


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def stored(value, source) -> np.ndarray:
    """All pieces of a weight, joined."""
    packed = packed_weight("w", value)
    flat = np.concatenate([piece.reshape(-1) for _, piece in pieces(packed, source)])
    return flat.reshape(packed.shape)


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("element", [f32, bf16])
def test_panels_hold_every_value_and_zeros(rows, element, monkeypatch):
    monkeypatch.setattr(packing, "PIECE_BYTES", 1 << 14)
    columns, pair = 23, 2 if element == bf16 else 1
    source = Tensors(w=random(rows, columns))
    value = CastWeightOp(weight("w", rows, columns), element).result
    found = stored(PackWeightOp(value, LayoutAttr.panel(64)).result, source)
    assert found.shape == (-(-rows // 64), 32 // pair, 64, pair)
    flat = found.transpose(0, 2, 1, 3).reshape(-1, 32)
    wanted = np.zeros(flat.shape, np.float32)
    wanted[:rows, :columns] = source["w"]
    if element == bf16:
        wanted = wanted.astype(ml_dtypes.bfloat16).view(np.uint16)
    np.testing.assert_array_equal(flat, wanted)


def test_row_major_pads_the_last_dimension():
    source = Tensors(w=random(5, 20), n=random(7))
    np.testing.assert_array_equal(stored(weight("w", 5, 20), source)[:, :20], source["w"])
    assert not stored(weight("w", 5, 20), source)[:, 20:].any()
    np.testing.assert_array_equal(stored(weight("n", 7), source), np.pad(source["n"], (0, 9)))


def test_bfloat16_rounds_to_nearest_even():
    values = np.array([[1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-8]], np.float32)
    cast = CastWeightOp(weight("w", 1, 4), bf16).result
    found = stored(cast, Tensors(w=values))[0, :4]
    assert found.tolist() == [0x3F80, 0x3F82, 0x3F81, 0xBF80]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16])
def test_sources_of_every_element_type_give_the_same_bits(dtype):
    values = random(3, 16).astype(ml_dtypes.bfloat16).astype(np.float16).astype(dtype)
    cast = CastWeightOp(weight("w", 3, 16), bf16).result
    wanted = values.astype(np.float32).astype(ml_dtypes.bfloat16).view(np.uint16)
    np.testing.assert_array_equal(stored(cast, Tensors(w=values)), wanted)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 132), st.integers(1, 90))
def test_any_range_of_rows_is_that_of_the_whole(first, count):
    source = Tensors(a=random(37, 6), b=random(37, 6, seed=1))
    gate, up = weight("a", 37, 6), weight("b", 37, 6)
    merged = InterleaveWeightsOp(gate, up).result
    both = ConcatWeightsOp([merged, ScaleWeightOp(weight("a", 37, 6), factor=0.5).result]).result
    whole = packed_rows(both, source).whole()
    assert whole.shape == (96 + 37, 6)
    np.testing.assert_array_equal(whole[:16], source["a"][:16])
    np.testing.assert_array_equal(whole[16:32], source["b"][:16])
    np.testing.assert_array_equal(whole[96:], source["a"] * np.float32(0.5))
    assert not whole[64 + 5 : 64 + 16].any()
    last = min(first + count, len(whole))
    np.testing.assert_array_equal(packed_rows(both, source).read(first, last), whole[first:last])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 4 * 128 - 1), st.integers(1, 300))
def test_any_range_of_a_stack_of_experts_is_that_of_the_whole(first, count):
    """Three experts of 70 rows, each padded to 128; gate and up of each in turns."""
    stacked = {"experts": 3, "expert_rows": 70}
    source = Tensors(
        {
            f"x.experts.{e}.{name}": random(70, 6, seed=e + len(name))
            for e in range(3)
            for name in ("g", "up")
        }
    )
    gate, up = (
        WeightOp(f"x.experts.{name}", WeightType((384, 6), f32), **stacked) for name in ("g", "up")
    )
    assert list(up.tensors.items())[1] == ("x.experts.1.up", (70, 6))
    whole = packed_rows(InterleaveWeightsOp(gate.result, up.result).result, source).whole()
    turns = whole.reshape(3, 8, 2, 16, 6)
    for expert in range(3):
        for part, name in enumerate(("g", "up")):
            rows = turns[expert, :, part].reshape(128, 6)
            np.testing.assert_array_equal(rows[:70], source[f"x.experts.{expert}.{name}"])
            assert not rows[70:].any()
    last = min(first + count, 384)
    one = packed_rows(up.result, source)
    if first < last:
        np.testing.assert_array_equal(one.read(first, last), one.whole()[first:last])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 20), st.integers(1, 21))
def test_any_range_of_the_rows_of_every_period_is_that_of_the_whole(first, count):
    source = Tensors(w=random(49, 3))
    op = SliceWeightOp(weight("w", 49, 3), start=2, size=3, period=7)
    found = packed_rows(op.result, source)
    wanted = source["w"].reshape(7, 7, 3)[:, 2:5].reshape(21, 3)
    np.testing.assert_array_equal(found.whole(), wanted)
    last = min(first + count, 21)
    np.testing.assert_array_equal(found.read(first, last), wanted[first:last])


def test_an_offset_is_added_to_every_value():
    source = Tensors(w=random(7))
    found = packed_rows(OffsetWeightOp(weight("w", 7), offset=1.0).result, source).whole()
    np.testing.assert_array_equal(found, source["w"] + np.float32(1))


def test_equal_expressions_are_stored_once():
    table = WeightTable()
    names = {
        table.add(PackWeightOp(weight("w", 64, 16), LayoutAttr.panel(64)).result) for _ in "ab"
    }
    assert len(names) == 1
    assert table.add(weight("w", 64, 16)) not in names
    assert len(table.weights) == 2


def test_no_piece_is_much_larger_than_agreed():
    source = Tensors(w=np.zeros((4096, 1024), np.float32))
    value = PackWeightOp(weight("w", 4096, 1024), LayoutAttr.panel(64)).result
    sizes = [piece.nbytes for _, piece in pieces(packed_weight("w", value), source)]
    assert max(sizes) <= packing.PIECE_BYTES
    assert sum(sizes) == 4096 * 1024 * 4
