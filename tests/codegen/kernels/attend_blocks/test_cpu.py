"""attend_blocks, over block lists and dense, against the float64 reference."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from sala_compile.codegen.kernels.attend_blocks.cpu import kernel as attend_blocks
from sala_compile.codegen.kernels.attend_blocks.cpu.schedule import MOST_SEGMENTS
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir import reference
from sala_compile.sala_ir.attention_sizes import Heads
from tests.support.sparse_kernels import (
    BF16,
    CASES,
    F32,
    HOST,
    TARGETS,
    Case,
    Layer,
    batches,
    run_attend,
    run_select,
)
from tests.support.steps import aligned, step


@pytest.mark.parametrize(("case", "target"), TARGETS, ids=str)
def test_attends_like_the_reference(case: Case, target: CpuTarget) -> None:
    for batch in batches(case):
        layer = Layer.random(case, batch)
        lists = run_select(layer, target)
        for given in (lists, None):
            out, read = run_attend(layer, target, given)
            expected, count = reference.attend_blocks(
                layer.queries(),
                layer.kv,
                batch.reference,
                *(given or (None, None)),
                layer.gates(),
                heads=Heads(case.heads, case.kv_heads, case.size, case.size**-0.5),
                block_size=case.block,
                operand_rounding=layer.rounding(),
            )
            tolerance = {F32: 2e-6, BF16: 4e-3}[case.element]
            if case.out_element is BF16:
                tolerance = 8e-3
            assert np.abs(out - expected).max() <= tolerance * np.abs(expected).max()
            assert np.array_equal(read, count)


@pytest.mark.parametrize("case", CASES[:3], ids=str)
def test_only_listed_blocks_are_touched(case: Case) -> None:
    batch = batches(case)[2]
    layer = Layer.random(case, batch)
    blocks, counts = run_select(layer, HOST)
    out, _ = run_attend(layer, HOST, (blocks, counts))
    pools = layer.pools.copy()
    for token, part in enumerate(batch.reference):
        if counts[token, 0] < 0:
            continue
        for head in range(case.kv_heads):
            left = set(range(part.length // case.block + 1)) - set(blocks[token, head].tolist())
            for pool in (pools.k, pools.v):
                poison = np.nan if case.element is F32 else 0xFFFF
                pool[batch.pages[part.slot, sorted(left)], head] = poison
    assert np.array_equal(run_attend(layer, HOST, (blocks, counts), pools)[0], out)


@pytest.mark.parametrize("case", [*CASES[:2], CASES[3]], ids=str)
def test_results_depend_on_nothing_but_the_sequence(case: Case) -> None:
    """Alone or in a batch, in one chunk or in pieces, with any number of workers: equal bits."""
    batch = batches(case)[0]
    layer = Layer.random(case, batch)
    lists = run_select(layer, HOST)
    whole = [*lists, *run_attend(layer, HOST, lists), *run_attend(layer, HOST, None)]
    for index, part in enumerate(batch.reference):
        done = 0
        for count in _pieces(part.count, seed=index):
            rows = slice(part.start + done, part.start + done + count)
            now = replace(
                batch,
                counts=(count,),
                history=(done,),
                slots=(part.slot,),
                call_lengths=(part.call_length,),
                workers=1,
            )
            piece = replace(layer, batch=now, merged=aligned(layer.merged[rows.start :]))
            lists = run_select(piece, HOST)
            found = [*lists, *run_attend(piece, HOST, lists), *run_attend(piece, HOST, None)]
            for expected, actual in zip(whole, found, strict=True):
                assert np.array_equal(expected[rows], actual)
            done += count


def _pieces(total: int, seed: int) -> Sequence[int]:
    random = np.random.default_rng(seed)
    pieces = []
    while total:
        pieces.append(min(total, int(random.choice([1, 2, 7, 50]))))
        total -= pieces[-1]
    return pieces


def test_pairs_and_widened_values_agree() -> None:
    """Both ways of multiplying bf16, whichever the target prefers; rows in tiles of any height."""
    case = CASES[2]
    layer = Layer.random(case, batches(case)[1])
    lists = run_select(layer, HOST)
    out, read = run_attend(layer, HOST, lists)
    for widened, height, values in ((False, 4, 4), (True, 3, 1)):
        schedule = attend_blocks.Schedule(
            row_tile=height, column_vectors=2, value_blocks=values, widened=widened
        )
        other, same = run_attend(layer, HOST, lists, schedule=schedule)
        assert np.abs(out - other).max() <= 1e-4 * np.abs(out).max()
        assert np.array_equal(read, same)


@pytest.mark.parametrize("group", [6, 14])
def test_large_groups_of_one_token_and_of_several(group: int) -> None:
    """Tokens of a chunk, whose pairs are split once for all, have the bits of single ones."""
    case = Case(group, 1, 32, 64, 16, BF16, gate=False)
    schedule = attend_blocks.FAMILY.default_schedule(case.dense, HOST)
    batch = step((70, 1), (60, 330), block_size=64, context=400)
    layer = Layer.random(case, batch)
    out, _ = run_attend(layer, HOST, None, schedule=schedule)
    expected, _ = reference.attend_blocks(
        layer.queries(),
        layer.kv,
        batch.reference,
        None,
        None,
        None,
        heads=Heads(case.heads, case.kv_heads, case.size, case.size**-0.5),
        block_size=case.block,
        operand_rounding=layer.rounding(),
    )
    assert np.abs(out - expected).max() <= 4e-3 * np.abs(expected).max()
    for token in (0, 3, 69):
        now = replace(
            batch,
            counts=(1,),
            history=(60 + token,),
            slots=batch.slots[:1],
            call_lengths=batch.call_lengths[:1],
            workers=1,
        )
        piece = replace(layer, batch=now, merged=aligned(layer.merged[token:]))
        found, _ = run_attend(piece, HOST, None, schedule=schedule)
        assert np.array_equal(found[0], out[token])


def test_tokens_with_segments_of_two_lengths_in_one_step() -> None:
    """Where a past has more than the most segments they become longer: fewer after that token."""
    case = Case(2, 1, 32, 64, 16, F32, gate=False)
    schedule = attend_blocks.FAMILY.default_schedule(case.dense, HOST)
    last = schedule.segment(case.dense) * MOST_SEGMENTS * 64
    batch = step((3,), (last - 2,), block_size=64, context=last + 64)
    layer = Layer.random(case, batch)
    out, _ = run_attend(layer, HOST, None, schedule=schedule)
    expected, _ = reference.attend_blocks(
        layer.queries(),
        layer.kv,
        batch.reference,
        None,
        None,
        layer.gates(),
        heads=Heads(case.heads, case.kv_heads, case.size, case.size**-0.5),
        block_size=case.block,
        operand_rounding=layer.rounding(),
    )
    assert np.abs(out - expected).max() <= 2e-6 * np.abs(expected).max()
