"""select_blocks and attend_blocks against the float64 reference."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest

from sala_compile.codegen.kernels.attend_blocks.cpu import kernel as attend_blocks
from sala_compile.codegen.kernels.select_blocks.cpu import kernel as select_blocks
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir import reference
from sala_compile.sala_ir.attention_sizes import BlockSelection, Heads
from sala_compile.sala_ir.reference.selection import block_scores
from tests.support import tiles
from tests.support.pools import Pools
from tests.support.sparse_layer import START, SparseCase, SparseLayer
from tests.support.steps import EXTRA, Library, Step, aligned, padded, poisoned, step

HOST = CpuTarget.host()
PORTABLE = CpuTarget("x86-64-v3")
BF16, F32 = Element.BF16, Element.F32


@dataclass(frozen=True, slots=True)
class Case(SparseCase):
    """A sparse layer and the kernels that compute it."""

    @property
    def select(self) -> select_blocks.Spec:
        """The selection kernel."""
        return select_blocks.Spec(
            num_heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.size,
            scale=self.size**-0.5,
            init_blocks=self.init,
            window_blocks=self.window,
            topk=self.topk,
            dense_len=self.dense_len,
            block_size=self.block,
            kernel_size=2 * self.stride,
            kernel_stride=self.stride,
            element=self.element,
            q_start=START,
            q_pitch=self.pitch,
        )

    @property
    def attend(self) -> attend_blocks.Spec:
        """The attention kernel over block lists."""
        return attend_blocks.Spec(
            num_heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.size,
            block_size=self.block,
            scale=self.size**-0.5,
            element=self.element,
            out_element=self.out_element,
            budget=self.topk + self.window,
            q_start=START,
            q_pitch=self.pitch,
            gate=self.gate,
            gate_start=self.gate_start if self.gate else 0,
            gate_pitch=self.pitch if self.gate else 0,
        )

    @property
    def dense(self) -> attend_blocks.Spec:
        """The attention kernel without block lists."""
        return replace(self.attend, budget=0)


CASES = (
    Case(16, 1, 128, 64, 16, BF16, BF16, window=1, topk=3, dense_len=256),
    Case(1, 1, 10, 16, 4, F32),
    Case(4, 2, 30, 24, 8, BF16, gate=False, init=0, window=1, topk=3),
    Case(3, 1, 16, 32, 32, F32, init=2, window=0, topk=5),
    Case(8, 2, 8, 16, 4, BF16, BF16, window=3),
    Case(6, 2, 64, 32, 16, F32, F32, gate=False, topk=3, dense_len=0),
    Case(10, 2, 32, 64, 16, BF16, topk=2, window=1),
)
PORTABLE_CASES = (CASES[1], CASES[2], CASES[4])
TILED_CASES = (CASES[0], CASES[6])
"""Those that AMX scores where a target has it."""
SCORED = [(case, target) for case in TILED_CASES for target in tiles.TARGETS]
TARGETS = [(case, HOST) for case in CASES] + [(case, PORTABLE) for case in PORTABLE_CASES]


@cache
def library(target: CpuTarget) -> Library:
    """The kernels of all cases for a target."""
    if target == tiles.EMULATED:
        kernels = [select_blocks.FAMILY.build(case.select, target) for case in TILED_CASES]
        return tiles.tile_library(kernels, target)
    functions = []
    for case in CASES if target == HOST else PORTABLE_CASES:
        functions.append(select_blocks.FAMILY.build(case.select, target))
        functions += [
            attend_blocks.FAMILY.build(spec, target) for spec in (case.attend, case.dense)
        ]
    return Library(functions, target)


@dataclass(frozen=True, slots=True)
class Layer(SparseLayer):
    """Inputs of a step, and caches as processors have them."""

    pool_type: ClassVar[Any] = Pools

    def rounding(self) -> reference.Round:
        """What operands of products are rounded to."""
        return reference.to_bfloat16 if self.case.element is BF16 else reference.exact


def run_select(layer: Layer, target: CpuTarget) -> tuple[np.ndarray, np.ndarray]:
    """Blocks and counts of all tokens."""
    case, batch = layer.case, layer.batch
    spec, schedule = case.select, select_blocks.FAMILY.default_schedule(case.select, target)
    names = ("control", "token_sequence", "token_position", "call_lengths", "slots")
    fields = [batch.field(name) for name in (*names, "compressed_table")]
    rows = batch.tokens + EXTRA
    blocks = poisoned(rows, case.kv_heads, spec.budget, dtype=np.int32)
    blocks[:] = -77
    counts = poisoned(rows, case.kv_heads, dtype=np.int32)
    counts[:] = -77
    pages = batch.pages.shape[1]
    scratch = [
        poisoned(batch.workers, w.elements + w.elements_per_page * pages, dtype=w.dtype)
        for w in select_blocks.FAMILY.workspaces(spec, schedule)
    ]
    pools = (layer.pools.fine, layer.pools.coarse)
    library(target).call(spec.symbol, *fields, layer.merged, *pools, blocks, counts, *scratch)
    assert (blocks[batch.tokens :] == -77).all()
    assert (counts[batch.tokens :] == -77).all()
    return blocks[: batch.tokens], counts[: batch.tokens]


def run_attend(
    layer: Layer,
    target: CpuTarget,
    lists: tuple[np.ndarray, np.ndarray] | None,
    pools: Pools | None = None,
    schedule: attend_blocks.Schedule | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Output as stored and blocks read, by the kernels of the library or of another schedule."""
    case, batch, pools = layer.case, layer.batch, pools or layer.pools
    spec = case.dense if lists is None else case.attend
    kernels = library(target)
    if schedule is not None:
        kernels = Library([attend_blocks.FAMILY.build(spec, target, schedule)], target)
    schedule = schedule or attend_blocks.FAMILY.default_schedule(case.attend, target)
    names = ("control", "token_sequence", "token_position", "offsets", "slots", "page_table")
    fields = [batch.field(name) for name in names]
    dtype = np.dtype(case.out_element.dtype)
    out = poisoned(batch.tokens + EXTRA, padded(case.used), dtype=dtype)
    read = poisoned(batch.tokens + EXTRA, case.kv_heads, dtype=np.int32)
    read[:] = -77
    scratch = [
        poisoned(batch.workers, schedule.floats(spec)),
        poisoned(batch.workers, schedule.operands(spec), dtype=schedule.product(spec).dtype),
    ]
    inputs = [] if lists is None else [aligned(x) for x in lists]
    gate = [layer.merged] if case.gate else []
    kernels.call(
        spec.symbol, *fields, layer.merged, pools.k, pools.v, *inputs, *gate, out, read, *scratch
    )
    values = out if case.out_element is F32 else (out.astype(np.uint32) << 16).view(np.float32)
    assert np.isnan(values[batch.tokens :]).all()
    assert (values[: batch.tokens, case.used :] == 0).all()
    assert (read[batch.tokens :] == -77).all()
    return values[: batch.tokens, : case.used], read[: batch.tokens]


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


def batches(case: Case) -> list[Step]:
    """Prefill over every boundary, a mixed step, and decoding of unequal lengths.

    Small layers also go beyond the 64 blocks of one page of compressed keys.
    """
    block, length = case.block, (case.topk + case.window + 3) * case.block
    far = 66 * block if case.used < 200 else length - 5
    common = {"block_size": block, "context": max(far, length) + 3 * block}
    dense = case.dense_len
    return [
        step((length + 3, max(1, dense - 1)), call_lengths=(length + 3, dense), **common),
        step(
            (1, 5, block + 1, 1, 9),
            (far, length, 3, 8 * case.stride - 2, dense),
            call_lengths=(far + 1, length + 200, 3 * length, 8 * case.stride - 1, dense - 1),
            seed=1,
            **common,
        ),
        step((1,) * 5, (length, length - 1, block - 1, 0, far), seed=2, **common),
    ]


@pytest.mark.parametrize(("case", "target"), TARGETS + SCORED, ids=str)
def test_selects_what_the_reference_scores_highest(case: Case, target: CpuTarget) -> None:
    for batch in batches(case):
        layer = Layer.random(case, batch)
        check_lists(layer, *run_select(layer, target))


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


def _pieces(total: int, seed: int) -> Sequence[int]:
    random = np.random.default_rng(seed)
    pieces = []
    while total:
        pieces.append(min(total, int(random.choice([1, 2, 7, 50]))))
        total -= pieces[-1]
    return pieces


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


def test_pairs_and_widened_values_agree() -> None:
    """Both ways of multiplying bf16, whichever the target prefers; rows in tiles of any height."""
    case = CASES[2]
    layer = Layer.random(case, batches(case)[1])
    lists = run_select(layer, HOST)
    out, read = run_attend(layer, HOST, lists)
    for widened, height in ((False, 4), (True, 3)):
        schedule = attend_blocks.Schedule(row_tile=height, column_vectors=2, widened=widened)
        other, same = run_attend(layer, HOST, lists, schedule=schedule)
        assert np.abs(out - other).max() <= 1e-4 * np.abs(out).max()
        assert np.array_equal(read, same)
