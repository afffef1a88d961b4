"""select_blocks against the scores of the float64 reference."""

from dataclasses import replace

import numpy as np
import pytest

from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.attention_sizes import BlockSelection
from sala_compile.sala_ir.reference.selection import block_scores
from tests.support import tiles
from tests.support.sparse_kernels import (
    CASES,
    HOST,
    TARGETS,
    TILED_CASES,
    Case,
    Layer,
    batches,
    run_select,
)
from tests.support.sparse_layer import START
from tests.support.steps import aligned, step

SCORED = [(case, target) for case in TILED_CASES for target in tiles.TARGETS]
"""Those that AMX scores where a target has it."""


def check_lists(layer: Layer, blocks: np.ndarray, counts: np.ndarray) -> None:
    """The lists are what the reference's scores allow, exact ties resolved to the lower block."""
    case, selection, queries = layer.case, layer.case.selection, layer.queries()
    for part in layer.batch.reference:
        rows, counted = part.rows, counts[part.rows]
        if part.call_length < case.dense_len:
            assert (counted == -1).all()
            continue
        scores = block_scores(
            queries[rows].reshape(part.count, case.heads, case.size),
            *layer.compressed[part.slot],
            part.positions,
            scale=case.size**-0.5,
            selection=selection,
        )
        for index, position in enumerate(part.positions):
            own = position // case.block
            for head in range(case.kv_heads):
                assert counted[index, head] == min(own + 1, selection.budget)
                listed = blocks[rows][index, head]
                _check_list(listed, int(counted[index, head]), scores[index, head], own, selection)


def _check_list(
    listed: np.ndarray,
    count: int,
    scores: np.ndarray,
    own: int,
    selection: BlockSelection,
) -> None:
    assert (listed[count:] == -1).all()
    kept = listed[:count].tolist()
    assert kept == sorted(set(kept))
    forced = {b for b in range(own + 1) if b < selection.init_blocks} | set(
        range(max(0, own - selection.window_blocks), own + 1)
    )
    assert forced <= set(kept)
    assert kept[-1] == own
    for left in set(range(own + 1)) - set(kept):
        for taken in set(kept) - forced:
            assert scores[taken] >= scores[left] * (1 - 2e-5)
            assert scores[taken] > scores[left] or taken < left or scores[taken] != scores[left]


@pytest.mark.parametrize(("case", "target"), TARGETS + SCORED, ids=str)
def test_selects_what_the_reference_scores_highest(case: Case, target: CpuTarget) -> None:
    for batch in batches(case):
        layer = Layer.random(case, batch)
        check_lists(layer, *run_select(layer, target))


@pytest.mark.parametrize(("case", "target"), SCORED, ids=str)
def test_tiles_choose_the_same_blocks_in_any_batch(case: Case, target: CpuTarget) -> None:
    batch = batches(case)[0]
    layer = Layer.random(case, batch)
    whole = run_select(layer, target)
    for token in range(0, batch.tokens, 5):
        index = int(np.searchsorted(batch.offsets, token, side="right")) - 1
        part = batch.reference.sequences[index]
        now = replace(
            batch,
            counts=(1,),
            history=(token - part.start,),
            slots=(part.slot,),
            call_lengths=(part.call_length,),
            workers=1,
        )
        piece = replace(layer, batch=now, merged=aligned(layer.merged[token:]))
        for expected, found in zip(whole, run_select(piece, target), strict=True):
            assert np.array_equal(expected[token : token + 1], found)


@pytest.mark.parametrize("case", CASES[:2], ids=str)
def test_equal_scores_go_to_the_lower_blocks(case: Case) -> None:
    length = (case.topk + case.window + 9) * case.block
    layer = Layer.random(case, step((1,), (length,), block_size=case.block, context=2 * length))
    layer.merged[0, START : START + case.used] = 0
    blocks, _ = run_select(layer, HOST)
    own = length // case.block
    first = list(range(case.init + case.select.chosen))
    assert blocks[0, 0].tolist() == first + list(range(own - case.window, own + 1))


def test_not_a_number_gives_a_complete_list() -> None:
    case = CASES[1]
    length = (case.topk + case.window + 9) * case.block
    layer = Layer.random(case, step((1,), (length,), block_size=case.block, context=2 * length))
    layer.merged[0, START] = -np.nan
    blocks, counts = run_select(layer, HOST)
    assert counts[0, 0] == case.select.budget
    assert blocks[0, 0].tolist() == sorted(set(blocks[0, 0].tolist()) - {-1})
