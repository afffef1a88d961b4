"""select_blocks on a GPU against the float64 reference."""

from dataclasses import replace

import numpy as np
import pytest

from sala_compile.codegen.kernels.select_blocks.gpu import kernel as select_blocks
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.sala_ir.reference.selection import block_scores
from tests.support import hostile
from tests.support.gpu_layer import GpuLayer
from tests.support.interpreted import run
from tests.support.sparse_layer import START, SparseCase
from tests.support.steps import EXTRA, aligned, poisoned, step

TARGET = CudaTarget(90)
BF16, F32 = Element.BF16, Element.F32

CASES = (
    SparseCase(16, 1, 32, 32, 8, BF16, window=1, topk=3, dense_len=256),
    SparseCase(3, 1, 16, 32, 32, F32, init=2, window=0, topk=5),
    SparseCase(10, 2, 10, 24, 8, BF16, init=0, window=3),
    SparseCase(4, 2, 16, 16, 4, F32, page_blocks=3),
)
PLAIN = SparseCase(1, 1, 16, 16, 4, F32)


def spec_of(case: SparseCase, *, decode: bool = False) -> select_blocks.Spec:
    """The selection kernel of a layer."""
    return select_blocks.Spec(
        num_heads=case.heads,
        kv_heads=case.kv_heads,
        head_dim=case.size,
        scale=case.size**-0.5,
        init_blocks=case.init,
        window_blocks=case.window,
        topk=case.topk,
        dense_len=case.dense_len,
        block_size=case.block,
        kernel_size=2 * case.stride,
        kernel_stride=case.stride,
        element=case.element,
        q_start=START,
        q_pitch=case.pitch,
        decode=decode,
        page_blocks=case.page_blocks,
    )


def select(
    layer: GpuLayer, schedule: select_blocks.Schedule | None = None, *, decode: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Blocks and counts of all tokens."""
    case, batch = layer.case, layer.batch
    spec = spec_of(case, decode=decode)
    schedule = schedule or small(spec)
    rows, pages = batch.tokens + EXTRA, batch.pages.shape[1]
    outputs = {
        "blocks": np.full((rows, case.kv_heads, spec.budget), -77, np.int32),
        "counts": np.full((rows, case.kv_heads), -77, np.int32),
    }
    scratch = {
        space.name: poisoned(1, space.elements + space.elements_per_page * pages)
        for space in select_blocks.FAMILY.workspaces(spec, schedule)
    }
    fields = batch.fields(select_blocks.arguments(spec, schedule))
    inputs = {"q": layer.merged, "fine": layer.pools.fine, "coarse": layer.pools.coarse}
    kernel = select_blocks.FAMILY.build(spec, TARGET, schedule)
    run(kernel, fields | inputs | outputs | scratch, layer.bucket, backwards=decode)
    blocks, counts = outputs["blocks"], outputs["counts"]
    assert (blocks[batch.tokens :] == -77).all()
    assert (counts[batch.tokens :] == -77).all()
    return blocks[: batch.tokens], counts[: batch.tokens]


def small(spec: select_blocks.Spec) -> select_blocks.Schedule:
    """Tiles so small that every loop has several turns and every slab an end."""
    schedule = select_blocks.FAMILY.default_schedule(spec, TARGET)
    return replace(schedule, keys=64, rows=64, splits=2, slab=11, width=64)


def check(layer: GpuLayer, blocks: np.ndarray, counts: np.ndarray) -> None:
    """The lists are what the reference's scores allow, exact ties resolved to the lower block."""
    case, selection, queries = layer.case, layer.case.selection, layer.queries()
    for part in layer.batch.reference:
        rows = part.rows
        if part.call_length < case.dense_len:
            assert (counts[rows] == -1).all()
            assert (blocks[rows] == -1).all()
            continue
        scores = block_scores(
            queries[rows].reshape(part.count, case.heads, case.size),
            *layer.compressed[part.slot],
            part.positions,
            scale=case.size**-0.5,
            selection=selection,
        )
        for index, position in enumerate(part.positions):
            own = int(position) // case.block
            for head in range(case.kv_heads):
                assert counts[rows][index, head] == min(own + 1, selection.budget)
                check_list(layer, blocks[rows][index, head], scores[index, head], own)


def check_list(layer: GpuLayer, listed: np.ndarray, scores: np.ndarray, own: int) -> None:
    """A list ascends, has what is forced, and nothing left out scores higher than what is chosen.

    Blocks that tie exactly in float64 share their best window.
    """
    selection = layer.case.selection
    count = min(own + 1, selection.budget)
    assert (listed[count:] == -1).all()
    kept = listed[:count].tolist()
    assert kept == sorted(set(kept))
    assert kept[-1] == own
    local = range(max(0, own - selection.window_blocks), own + 1)
    forced = {*range(min(own + 1, selection.init_blocks)), *local}
    assert forced <= set(kept)
    for left in set(range(own + 1)) - set(kept):
        for taken in set(kept) - forced:
            assert scores[taken] >= scores[left] * (1 - 2e-5)
            assert scores[taken] != scores[left] or taken < left


@pytest.mark.parametrize("case", CASES, ids=str)
def test_prefill_selects_what_the_reference_scores_highest(case: SparseCase) -> None:
    """Ragged chunks over both regimes; one of them is in the second page of compressed keys."""
    block, length = case.block, (case.topk + case.window + 3) * case.block
    batch = step(
        (3, 8, 1, 5, 3),
        (66 * block - 2, length - 3, 3, 8 * case.stride - 2, case.dense_len),
        call_lengths=(67 * block, length + 200, 4, 8 * case.stride + 7, case.dense_len - 1),
        block_size=case.page,
        context=72 * block,
    )
    layer = GpuLayer.random(case, batch, seed=1)
    check(layer, *select(layer))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_decode_selects_what_the_reference_scores_highest(case: SparseCase) -> None:
    block, length = case.block, (case.topk + case.window + 3) * case.block
    history = (length, block - 1, 0, 64 * block + block // 2)
    batch = step((1,) * 4, history, seed=2, block_size=case.page, context=72 * block)
    layer = GpuLayer.random(case, batch, seed=2)
    blocks, counts = select(layer, decode=True)
    check(layer, blocks, counts)
    check(layer, *select(layer))


@pytest.mark.parametrize("decode", [False, True], ids=["read", "generated"])
def test_rows_do_not_depend_on_the_batch(decode: bool) -> None:
    """Alone or in a batch, in one chunk or in pieces: equal lists."""
    case = CASES[2]
    length = (case.topk + case.window + 3) * case.block
    history = (length - 2, length + 1)
    batch = step((5, 4), history, seed=3, block_size=case.page, context=2 * length)
    layer = GpuLayer.random(case, batch, seed=3)
    whole, _ = select(layer, decode=decode)
    for part in batch.reference:
        done = 0
        for count in [1] * part.count if decode else (2, part.count - 2):
            rows = slice(part.start + done, part.start + done + count)
            now = replace(
                batch,
                counts=(count,),
                history=(part.history + done,),
                slots=(part.slot,),
                call_lengths=(part.call_length,),
            )
            piece = replace(layer, batch=now, merged=aligned(layer.merged[rows.start :]))
            assert np.array_equal(select(piece, decode=decode)[0], whole[rows])
            done += count


@pytest.mark.parametrize("decode", [False, True])
def test_equal_scores_go_to_the_lower_blocks(decode: bool) -> None:
    case = PLAIN
    length = (case.topk + case.window + 9) * case.block
    batch = step((1,), (length,), block_size=case.page, context=2 * length)
    layer = GpuLayer.random(case, batch, seed=4)
    own, spec = length // case.block, spec_of(case)
    local = list(range(own - case.window, own + 1))
    layer.merged[0, START : START + case.used] = 0
    blocks, _ = select(layer, decode=decode)
    assert blocks[0, 0].tolist() == [*range(case.init + spec.chosen), *local]
    layer.merged[0, START] = -np.nan
    blocks, counts = select(layer, decode=decode)
    assert counts[0, 0] == spec.budget
    assert blocks[0, 0].tolist() == sorted(set(blocks[0, 0].tolist()) - {-1})


@pytest.mark.parametrize("case", [CASES[0], PLAIN], ids=str)
@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize("name", hostile.NAMES)
def test_every_list_is_complete(case: SparseCase, name: str, decode: bool) -> None:
    """Whatever numbers stand in compressed keys and queries, and whatever stood in workspaces."""
    length = (case.topk + case.window + 9) * case.block
    counts = (1, 1) if decode else (3, 2)
    batch = step(counts, (length, length + 1), block_size=case.page, context=2 * length)
    for place, share in (("fine", 1.0), ("fine", 0.1), ("coarse", 0.1), ("queries", 0.01)):
        layer = GpuLayer.random(case, batch, seed=5)
        values = layer.merged[:, START : START + case.used]
        values = values if place == "queries" else getattr(layer.pools, place)
        hostile.fill(values, name, F32 if place == "queries" else case.element, share)
        with np.errstate(all="ignore"):
            blocks, counted = select(layer, decode=decode)
        assert (counted == spec_of(case).budget).all()
        for part in batch.reference:
            for row, position in zip(blocks[part.rows], part.positions, strict=True):
                own = int(position) // case.block
                for listed in row.tolist():
                    assert listed == sorted(set(listed))
                    assert listed[: case.init] == list(range(case.init))
                    assert listed[-1 - case.window :] == list(range(own - case.window, own + 1))
