"""attend_blocks on a GPU against the float64 reference."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sala_compile.codegen.kernels.attend_blocks.gpu import kernel as attend_blocks
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.sala_ir import reference
from sala_compile.sala_ir.attention_sizes import Heads
from sala_compile.sala_ir.reference.selection import select_blocks
from tests.support.gpu_layer import GpuLayer
from tests.support.interpreted import TARGET, run
from tests.support.pools import loaded
from tests.support.sparse_layer import START, SparseCase
from tests.support.steps import EXTRA, Step, aligned, padded, poisoned, step

BF16, F32 = Element.BF16, Element.F32

CASES = (
    SparseCase(16, 1, 32, 16, 4, BF16, BF16, topk=3, window=1),
    SparseCase(9, 1, 10, 24, 8, F32, gate=False, topk=3, window=1),
    SparseCase(2, 2, 24, 16, 16, BF16, topk=2, window=1, dense_len=40),
    SparseCase(4, 2, 16, 16, 4, F32, topk=3, window=1, page_blocks=3),
)
Lists = tuple[np.ndarray, np.ndarray]


def spec_of(case: SparseCase, *, lists: bool, decode: bool) -> attend_blocks.Spec:
    """The attention kernel of a layer."""
    return attend_blocks.Spec(
        num_heads=case.heads,
        kv_heads=case.kv_heads,
        head_dim=case.size,
        block_size=case.block,
        scale=case.size**-0.5,
        element=case.element,
        out_element=case.out_element,
        budget=case.topk + case.window if lists else 0,
        q_start=START,
        q_pitch=case.pitch,
        gate=case.gate,
        gate_start=case.gate_start if case.gate else 0,
        gate_pitch=case.pitch if case.gate else 0,
        decode=decode,
        page_blocks=case.page_blocks,
    )


def lists_of(layer: GpuLayer) -> Lists:
    """The lists of the reference."""
    case = layer.case
    return select_blocks(
        layer.queries(),
        layer.compressed,
        layer.batch.reference,
        heads=Heads(case.heads, case.kv_heads, case.size, case.size**-0.5),
        selection=case.selection,
    )


def attend(
    layer: GpuLayer, lists: Lists | None, *, decode: bool = False, product: bool = False
) -> Lists:
    """Output and blocks read; nothing behind the live rows is written.

    Tiles are small and splits few, unless those of the product are wanted.
    """
    case, batch = layer.case, layer.batch
    spec = spec_of(case, lists=lists is not None, decode=decode)
    schedule = attend_blocks.Schedule.fitting(spec, TARGET)
    if not product:
        schedule = replace(schedule, rows=min(schedule.rows, 64), splits=4)
    rows, width = batch.tokens + EXTRA, padded(case.used)
    out = poisoned(rows, width, dtype=np.dtype(case.out_element.dtype))
    read = np.full((rows, case.kv_heads), -77, np.int32)
    buffers: dict[str, Any] = batch.fields(attend_blocks.arguments(spec, schedule))
    buffers |= {"q": layer.merged, "k_pool": layer.pools.k, "v_pool": layer.pools.v}
    buffers |= {"out": out, "blocks_read": read}
    if lists is not None:
        behind = ((0, EXTRA), (0, 0))
        blocks, counts = (np.asarray(each, np.int32) for each in lists)
        buffers["blocks"] = np.pad(blocks, (*behind, (0, 0)), constant_values=9999)
        buffers["counts"] = np.pad(counts, behind, constant_values=9999)
    if case.gate:
        buffers["gate"] = layer.merged
    # A decode step has rows for as many tokens as a plan has sequences.
    sequences = batch.tokens if decode else len(batch.counts)
    buffers |= scratch(attend_blocks.FAMILY.workspaces(spec, schedule), batch.tokens, sequences)
    kernel = attend_blocks.FAMILY.build(spec, TARGET, schedule)
    run(kernel, buffers, layer.bucket, backwards=decode)
    values = loaded(out, case.out_element)
    assert np.isnan(values[batch.tokens :]).all()
    assert (values[: batch.tokens, case.used :] == 0).all()
    assert (read[batch.tokens :] == -77).all()
    return values[: batch.tokens, : case.used], read[: batch.tokens]


def scratch(spaces: Any, tokens: int, sequences: int) -> dict[str, np.ndarray]:
    """Poisoned workspaces, as large as those of the step and no larger."""
    return {
        space.name: poisoned(
            1,
            space.elements_per_token * tokens + space.elements_per_sequence * sequences,
            dtype=space.dtype,
        )
        for space in spaces
    }


def check(layer: GpuLayer, lists: Lists | None, found: Lists) -> None:
    """Output and counts are those of the reference."""
    case = layer.case
    exact = case.element is F32
    expected, count = reference.attend_blocks(
        layer.queries(),
        layer.kv,
        layer.batch.reference,
        *(lists or (None, None)),
        layer.gates(),
        heads=Heads(case.heads, case.kv_heads, case.size, case.size**-0.5),
        block_size=case.block,
        operand_rounding=reference.exact if exact else reference.to_bfloat16,
    )
    out, read = found
    tolerance = 2e-6 if exact else 4e-3 if case.out_element is F32 else 8e-3
    assert np.abs(out - expected).max() <= tolerance * np.abs(expected).max()
    assert np.array_equal(read, count)


def chunks(case: SparseCase) -> Step:
    """Chunks of unequal lengths: dense and sparse sequences, tiles cut short at both ends."""
    block, length = case.block, (case.topk + case.window + 3) * case.block
    return step(
        (11, 1, 2, block // 2),
        (length - 5, length + 1, 0, block - 3),
        call_lengths=(2 * length, length + 2, 2, case.dense_len - 1),
        block_size=case.page,
        context=2 * length,
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_prefill_attends_like_the_reference(case: SparseCase) -> None:
    layer = GpuLayer.random(case, chunks(case), seed=1)
    lists = lists_of(layer)
    assert (lists[1] < 0).any()
    assert (lists[1] > 0).any()
    for given in (lists, None):
        check(layer, given, attend(layer, given))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_decode_attends_like_the_reference_and_like_prefill(case: SparseCase) -> None:
    length = (case.topk + case.window + 3) * case.block
    batch = step(
        (1, 1, 1, 1),
        (length, case.block - 1, 0, 9 * case.block + 1),
        call_lengths=(length + 1, case.dense_len - 1, 1, 9 * case.block + 2),
        seed=2,
        block_size=case.page,
        context=2 * length,
    )
    layer = GpuLayer.random(case, batch, seed=2)
    lists = lists_of(layer)
    for given in (lists, None):
        found = attend(layer, given, decode=True)
        check(layer, given, found)
        again = attend(layer, given)
        assert np.array_equal(found[1], again[1])
        tolerance = 1e-5 if case.element is F32 else 2**-6
        assert np.abs(found[0] - again[0]).max() <= tolerance * np.abs(found[0]).max()


def test_only_listed_blocks_are_touched() -> None:
    case = CASES[0]
    batch = replace(chunks(case), counts=(3, 1, 0, 0))
    layer = GpuLayer.random(case, batch, seed=3)
    lists = lists_of(layer)
    before, _ = attend(layer, lists)
    for part in batch.reference:
        listed = set(lists[0][part.rows].ravel().tolist())
        left = set(range(part.length // case.block + 1)) - listed if part.count else set()
        assert left or not part.count
        for pool in (layer.pools.k, layer.pools.v):
            pool[batch.pages[part.slot, sorted(left)]] = 0x7FC0
    after, _ = attend(layer, lists)
    assert np.array_equal(before, after)


def test_rows_do_not_depend_on_the_batch() -> None:
    """Alone or in a batch, in one chunk or in pieces: equal bits. The kernel for layers without
    lists sums in another order, so it is only close."""
    case = CASES[2]
    layer = GpuLayer.random(case, chunks(case), seed=4)
    batch, lists = layer.batch, lists_of(layer)
    whole, dense = attend(layer, lists)[0], attend(layer, None)[0]
    for part in batch.reference:
        done = 0
        for count in (1, part.count - 1) if part.count > 1 else (1,):
            rows = slice(part.start + done, part.start + done + count)
            now = replace(
                batch,
                counts=(count,),
                history=(part.history + done,),
                slots=(part.slot,),
                call_lengths=(part.call_length,),
            )
            piece = replace(layer, batch=now, merged=aligned(layer.merged[rows.start :]))
            mine = (lists[0][rows], lists[1][rows])
            assert np.array_equal(attend(piece, mine)[0], whole[rows])
            done += count
        if lists[1][part.start, 0] < 0:
            difference = np.abs(whole[part.rows] - dense[part.rows]).max()
            assert difference <= 2**-6 * np.abs(dense[part.rows]).max()


def test_several_generated_tokens_have_the_bits_of_single_steps() -> None:
    case = CASES[0]
    length = (case.topk + case.window + 3) * case.block
    batch = step((3, 1, 4), (length, 0, length - 2), block_size=case.block, context=2 * length)
    layer = GpuLayer.random(case, batch, seed=5)
    lists = lists_of(layer)
    for given in (lists, None):
        together, read = attend(layer, given, decode=True)
        for part in batch.reference:
            for row in range(part.start, part.stop):
                now = replace(
                    batch,
                    counts=(1,),
                    history=(part.history + row - part.start,),
                    slots=(part.slot,),
                    call_lengths=(part.call_length,),
                )
                one = replace(layer, batch=now, merged=aligned(layer.merged[row:]))
                mine = None if given is None else (given[0][row : row + 1], given[1][row : row + 1])
                found = attend(one, mine, decode=True)
                assert np.array_equal(found[0][0], together[row])
                assert np.array_equal(found[1][0], read[row])


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize("wrong", [-1, -(2**31), 2**31 - 1, 10**6])
def test_no_number_outside_of_the_past_is_followed(wrong: int, decode: bool) -> None:
    """A wrong block is the nearest one of the past, a wrong count the width of the list."""
    case = CASES[1]
    length = (case.topk + case.window + 3) * case.block
    counts = (1, 1) if decode else (3, 2)
    batch = step(counts, (length, length + 1), seed=6, block_size=case.page, context=2 * length)
    layer = GpuLayer.random(case, batch, seed=6)
    blocks, counted = (np.asarray(each, np.int32) for each in lists_of(layer))
    first = np.concatenate([np.full(p.count, p.positions[-1]) for p in batch.reference])
    nearest = blocks.copy()
    nearest[:, :, 1] = np.clip(wrong, 0, first[:, None] // case.block)
    blocks[:, :, 1] = wrong
    expected, _ = attend(layer, (nearest, counted), decode=decode)
    found, read = attend(layer, (blocks, np.full_like(counted, 2**31 - 1)), decode=decode)
    assert np.array_equal(found, expected)
    assert read.max() <= case.topk + case.window


@pytest.mark.parametrize(
    ("architecture", "kv_heads", "splits"),
    [(90, 1, 64), (90, 2, 64), (90, 4, 32), (90, 16, 32), (89, 1, 32)],
)
def test_a_past_of_few_kv_heads_has_the_programs_that_memory_asks_for(
    architecture: int, kv_heads: int, splits: int
) -> None:
    spec = replace(spec_of(CASES[0], lists=False, decode=True), kv_heads=kv_heads)
    target = CudaTarget(architecture)
    assert attend_blocks.Schedule.fitting(spec, target).splits == splits
    assert attend_blocks.Schedule.fitting(replace(spec, budget=96), target).splits == 32
