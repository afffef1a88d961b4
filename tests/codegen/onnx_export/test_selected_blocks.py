"""The blocks that the exported function selects, compared with those of the float64 reference."""

from functools import cache
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from sala_compile.codegen.onnx_export.function_library import DOMAIN, FunctionLibrary
from sala_compile.sala_ir.attention_sizes import BlockSelection
from sala_compile.sala_ir.reference.cache import complete_windows, window_means
from sala_compile.sala_ir.reference.selection import block_scores, choose_blocks

KV_HEADS, GROUP, SIZE, SCALE = 2, 2, 8, 0.35
SIZES = BlockSelection(
    kernel_size=8,
    kernel_stride=4,
    block_size=16,
    init_blocks=1,
    window_blocks=2,
    topk=4,
    dense_len=0,
)
LENGTHS = (1, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 300)
"""Around windows, blocks, coarse windows and the budget of 6 blocks."""


@cache
def selector(size_block: int = 16, topk: int = 4) -> onnxruntime.InferenceSession:
    """A model that is one call of the function."""
    library = FunctionLibrary()
    library.use("SelectBlocks")
    attributes = {
        "num_heads": KV_HEADS * GROUP,
        "kv_heads": KV_HEADS,
        "scale": SCALE,
        "kernel_size": 8,
        "kernel_stride": 4,
        "block_size": size_block,
        "init_blocks": 1,
        "window_blocks": 2,
        "topk": topk,
    }
    inputs = ("query", "keys", "positions")
    node = helper.make_node("SelectBlocks", inputs, ["blocks"], domain=DOMAIN, **attributes)
    shapes = (("b", "s", None), ("b", KV_HEADS, "t", SIZE), ("b", "s"))
    kinds = (TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT64)
    infos = map(helper.make_tensor_value_info, inputs, kinds, shapes)
    result = helper.make_tensor_value_info("blocks", TensorProto.INT64, ["b", KV_HEADS, "s", None])
    imports = [helper.make_opsetid("", 23), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(
        helper.make_graph([node], "selector", list(infos), [result]),
        opset_imports=imports,
        functions=list(library.used.values()),
        ir_version=11,
    )
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def selected(query: np.ndarray, keys: np.ndarray, positions: np.ndarray, sizes: Any) -> np.ndarray:
    """Which blocks the function selects, bool [queries, kv heads, blocks]."""
    feeds = {
        "query": query.reshape(1, len(query), -1),
        "keys": keys.transpose(1, 0, 2)[None],
        "positions": positions[None],
    }
    (found,) = selector(sizes.block_size, sizes.topk).run(None, feeds)
    blocks = -(-len(keys) // sizes.block_size)
    chosen = np.zeros((len(query), KV_HEADS, blocks + 1), bool)
    np.put_along_axis(chosen, found[0].transpose(1, 0, 2), True, axis=2)
    return chosen[..., :-1]


def wanted(
    query: np.ndarray, keys: np.ndarray, positions: np.ndarray, sizes: BlockSelection
) -> tuple[np.ndarray, np.ndarray]:
    """What the reference selects, and its scores, in float64."""
    windows: list[np.ndarray] = []
    for factor in (1, 4):
        size, stride = factor * sizes.kernel_size, factor * sizes.kernel_stride
        count = complete_windows(len(keys), size, stride)
        means = window_means(keys.astype(np.float64), 0, count, size, stride) if count else None
        windows.append(np.zeros((0, KV_HEADS, SIZE)) if means is None else means)
    scores = block_scores(
        query.astype(np.float64), *windows, positions, scale=SCALE, selection=sizes
    )
    blocks, _ = choose_blocks(scores, positions, selection=sizes)
    chosen = np.zeros((*scores.shape[:2], scores.shape[2] + 1), bool)
    np.put_along_axis(chosen, np.where(blocks < 0, scores.shape[2], blocks), True, axis=2)
    return chosen[..., :-1], scores


@pytest.mark.parametrize("length", LENGTHS)
def test_selected_blocks_are_those_of_the_reference(length: int) -> None:
    generator = np.random.default_rng(length)
    keys = generator.standard_normal((length, KV_HEADS, SIZE)).astype(np.float32)
    query = generator.standard_normal((length, KV_HEADS * GROUP, SIZE)).astype(np.float32)
    positions = np.arange(length)
    found = selected(query, keys, positions, SIZES)
    expected, scores = wanted(query, keys, positions, SIZES)
    assert (found.sum(2) == expected.sum(2)).all()
    for row in np.argwhere((found != expected).any(2)):
        ours, theirs = (scores[*row][mask[*row]].min() for mask in (expected, found))
        assert abs(ours - theirs) <= 1e-6 * abs(ours), f"query and head {row}"


@pytest.mark.parametrize("size_block", [8, 16, 32])
@pytest.mark.parametrize("length", [128, 200, 257])
def test_exact_ties_take_the_lowest_index(length: int, size_block: int) -> None:
    """Equal keys give equal scores, whatever the query: the oldest blocks fill the budget."""
    sizes = BlockSelection(8, 4, size_block, 1, 2, 4, 0)
    generator = np.random.default_rng(length)
    keys = np.repeat(generator.integers(-2, 3, (1, KV_HEADS, SIZE)), length, axis=0)
    query = generator.integers(-2, 3, (length, KV_HEADS * GROUP, SIZE))
    operands = query.astype(np.float32), keys.astype(np.float32), np.arange(length)
    expected, scores = wanted(*operands, sizes)
    tied = np.ptp(scores[-1][:, 1:-4], axis=-1) if scores.shape[2] > 5 else np.zeros(1)
    assert (tied <= 1e-12 * scores.max()).all(), "the scores are built to tie"
    np.testing.assert_array_equal(selected(*operands, sizes), expected)


def test_the_shared_window_ties_two_neighbours() -> None:
    """A window in two blocks gives both its score, so that the cut is often between equals."""
    length, generator = 320, np.random.default_rng(5)
    keys = generator.standard_normal((length, KV_HEADS, SIZE)).astype(np.float32)
    query = generator.standard_normal((length, KV_HEADS * GROUP, SIZE)).astype(np.float32)
    positions = np.arange(length)
    expected, scores = wanted(query, keys, positions, SIZES)
    at_cut = 0
    for row in range(200, length):
        for head in range(KV_HEADS):
            cut = scores[row, head][expected[row, head]].min()
            at_cut += bool((scores[row, head][~expected[row, head]] == cut).any())
    assert at_cut > 5, "some cuts are between equals"
    np.testing.assert_array_equal(selected(query, keys, positions, SIZES), expected)
