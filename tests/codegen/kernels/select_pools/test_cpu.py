"""The choice of pools against the float64 reference, ties, hostile scores, and its bits."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from sala_compile.codegen.kernels.arguments import workspaces_of
from sala_compile.codegen.kernels.select_pools.cpu.kernel import FAMILY
from sala_compile.codegen.kernels.select_pools.spec import Spec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.reference import exact, pool_scores, select_pools, to_bfloat16
from tests.support.columns import column_starts, side_by_side
from tests.support.pools import loaded, rounded, stored
from tests.support.steps import EXTRA, Library, Step, padded, poisoned, step

HOST = CpuTarget.host()
PORTABLE = CpuTarget("x86-64-v3")
CONTEXT = 24576
SCALE = 0.125
"""A power of two, so that scores of small whole numbers are exact."""


def spec_of(
    heads: int,
    columns: int,
    count: int,
    pool: int,
    element: Element,
    page: int = 64,
    weighted: bool = True,
) -> Spec:
    """A spec whose float32 operands stand side by side in one buffer."""
    sizes = {"q": heads * columns, "keys": columns} | ({"weights": heads} if weighted else {})
    views, _ = column_starts(sizes)
    return Spec(heads, columns, SCALE, count, pool, page, element, **views)


SPECS = (
    spec_of(8, 16, 48, 1, Element.F32),
    spec_of(8, 16, 48, 1, Element.BF16),
    spec_of(64, 128, 2048, 1, Element.BF16),
    spec_of(4, 64, 100, 2, Element.BF16, weighted=False),
    spec_of(4, 16, 8, 8, Element.F32),
    spec_of(3, 34, 16, 4, Element.BF16, page=128),
    spec_of(17, 22, 5, 64, Element.F32),
    spec_of(1, 2, 1, 1, Element.BF16, page=48),
    spec_of(9, 30, 7, 3, Element.F32, page=48, weighted=False),
    spec_of(32, 128, 128, 16, Element.BF16, page=256),
)
PORTABLE_SPECS = (SPECS[0], SPECS[1], SPECS[4])


@cache
def library(target: CpuTarget) -> Library:
    """The kernels of all specs for a target."""
    specs = SPECS if target == HOST else PORTABLE_SPECS
    return Library([FAMILY.build(spec, target) for spec in specs], target)


class Inputs:
    """Random inputs for `tokens` rows and pages of histories, poisoned wherever nobody may read."""

    def __init__(self, spec: Spec, batch: Step, seed: int = 0):
        random = np.random.default_rng(seed)
        self.spec, tokens = spec, batch.tokens
        self.sizes = {"q": spec.heads * spec.columns, "keys": spec.columns}
        if spec.is_weighted:
            self.sizes["weights"] = spec.heads
        self.merged = side_by_side(tokens, self.sizes, random)
        pack = spec.element.pack
        shape = (spec.columns // pack, padded(spec.entries), pack)
        self.pool = poisoned(int(batch.pages.max()) + 1, *shape, dtype=spec.element.dtype)
        self.past: dict[int, np.ndarray] = {}
        for slot, history in zip(batch.slots, batch.history, strict=True):
            drawn = random.standard_normal((history // spec.pool, spec.columns))
            self.fill(batch, slot, drawn)

    def fill(self, batch: Step, slot: int, keys: np.ndarray) -> None:
        """The keys of the past of a sequence."""
        spec, pack = self.spec, self.spec.element.pack
        self.past[slot] = rounded(keys, spec.element)
        index = np.arange(len(keys))
        pages = batch.pages[slot, index // spec.entries]
        rows = stored(keys, spec.element).reshape(len(keys), spec.columns // pack, pack)
        self.pool[pages, :, index % spec.entries] = rows

    def operand(self, name: str, tokens: int) -> np.ndarray:
        """The columns of an operand, float64."""
        start = getattr(self.spec, f"{name}_start")
        return self.merged[:tokens, start : start + self.sizes[name]].astype(np.float64)

    def rows(self, rows: slice) -> "Inputs":
        """The same inputs for a part of the tokens; the pool is shared."""
        part = object.__new__(Inputs)
        part.spec, part.sizes, part.pool, part.past = self.spec, self.sizes, self.pool, self.past
        part.merged = poisoned(rows.stop - rows.start + EXTRA, self.merged.shape[1])
        part.merged[: rows.stop - rows.start] = self.merged[rows]
        return part

    def run(self, batch: Step, target: CpuTarget = HOST) -> np.ndarray:
        """The kernel's selection; the pool changes in place."""
        spec = self.spec
        selection = poisoned(batch.tokens + EXTRA, spec.count, dtype=np.int32)
        selection[:] = -77
        declared = FAMILY.arguments(spec, FAMILY.default_schedule(spec, target))
        fields = batch.fields(declared)
        spaces = [
            poisoned(batch.workers, space.elements, dtype=space.dtype)
            for space in workspaces_of(declared)
        ]
        inputs = [self.merged, self.merged, self.pool, *[self.merged] * spec.is_weighted]
        library(target).call(spec.symbol, *fields.values(), *inputs, selection, *spaces)
        assert (selection[batch.tokens :] == -77).all()
        return selection[: batch.tokens]

    def expected(self, batch: Step) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """The reference's selection and keys, in float64."""
        spec, tokens = self.spec, batch.tokens
        rounding = to_bfloat16 if spec.element is Element.BF16 else exact
        selection, cache = select_pools(
            self.operand("q", tokens),
            self.operand("keys", tokens),
            self.past,
            batch.reference,
            self.operand("weights", tokens) if spec.is_weighted else None,
            **{name: getattr(spec, name) for name in ("heads", "scale", "count", "pool")},
            cache_rounding=rounding,
            operand_rounding=rounding,
        )
        return selection, dict(cache)

    def scores(self, batch: Step, cache: dict[int, np.ndarray]) -> list[np.ndarray]:
        """The scores of the complete pools of every token."""
        spec, tokens = self.spec, batch.tokens
        q = rounded(self.operand("q", tokens), spec.element)
        weights = self.operand("weights", tokens) if spec.is_weighted else None
        found: list[np.ndarray] = []
        for part in batch.reference:
            for row, position in zip(range(part.start, part.stop), part.positions, strict=True):
                keys = cache[part.slot][: (position + 1) // spec.pool]
                query = q[row : row + 1].reshape(1, spec.heads, spec.columns)
                own = None if weights is None else weights[row : row + 1]
                found.append(pool_scores(query, keys, own, scale=spec.scale)[0])
        return found


def batch_of(spec: Spec, counts: Sequence[int], history: Sequence[int], workers: int = 2) -> Step:
    """A step over pages of the spec."""
    return step(counts, history, block_size=spec.page_tokens, context=CONTEXT, workers=workers)


BATCHES = (
    ((1, 70, 9, 1), (0, 0, 5, 1)),
    ((1, 3, 66), (1500, 63, 200)),
    ((1,), (9000,)),
    ((1, 2), (CONTEXT - 1, 7000)),
    ((40,), (5000,)),
)


@pytest.mark.parametrize(
    ("spec", "target"),
    [(spec, HOST) for spec in SPECS] + [(spec, PORTABLE) for spec in PORTABLE_SPECS],
    ids=lambda x: x.symbol if isinstance(x, Spec) else x.name,
)
@pytest.mark.parametrize(
    ("counts", "history"), BATCHES, ids=("short", "long", "split", "uneven", "chunk")
)
def test_equals_reference(
    spec: Spec, target: CpuTarget, counts: tuple[int, ...], history: tuple[int, ...]
) -> None:
    batch = batch_of(spec, counts, history)
    inputs = Inputs(spec, batch)
    wanted, cache = inputs.expected(batch)
    found = inputs.run(batch, target)
    for row, scores in enumerate(inputs.scores(batch, cache)):
        used = min(spec.count, len(scores))
        listed = found[row, :used]
        assert (found[row, used:] == -1).all()
        assert (np.diff(listed) > 0).all()
        assert ((listed >= 0) & (listed < len(scores))).all()
        # Float32 sums may take another of two scores that are as near as their rounding.
        least = scores[wanted[row, :used]].min(initial=np.inf)
        assert (scores[listed] >= least - 1e-5 * np.abs(scores).max(initial=0)).all()
    for slot, past, new in zip(batch.slots, history, counts, strict=True):
        for p in range(past // spec.pool, (past + new) // spec.pool):
            page = batch.pages[slot, p // spec.entries]
            row = np.ascontiguousarray(inputs.pool[page, :, p % spec.entries]).reshape(-1)
            assert np.array_equal(loaded(row, spec.element), rounded(cache[slot][p], spec.element))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_bits_do_not_depend_on_batch_cuts_and_workers(spec: Spec) -> None:
    batch = batch_of(spec, (1, 20, 3), (9100, 3000, 63))
    inputs = Inputs(spec, batch)
    together = inputs.run(batch)
    for workers in (1, 3, 7):
        assert np.array_equal(inputs.run(replace(batch, workers=workers)), together)
    for index, slot in enumerate(batch.slots):
        first = batch.offsets[index]
        for done in range(batch.counts[index]):
            alone = replace(
                batch,
                counts=(1,),
                history=(batch.history[index] + done,),
                slots=(slot,),
                call_lengths=(batch.call_lengths[index],),
            )
            row = slice(first + done, first + done + 1)
            for workers in (1, 2, 5):
                one = replace(alone, workers=workers)
                assert np.array_equal(inputs.rows(row).run(one), together[row])


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
@pytest.mark.parametrize("kind", ["equal", "few values", "zeros", "negative"])
def test_ties_go_to_the_first(spec: Spec, kind: str) -> None:
    """Exact in float32: keys and queries are small whole numbers."""
    batch = batch_of(spec, (1, 3, 20), (9500, 700, 3000))
    inputs = Inputs(spec, batch)
    random = np.random.default_rng(7)
    inputs.merged[: batch.tokens] = random.integers(-2, 3, inputs.merged[: batch.tokens].shape)
    if spec.is_weighted:
        start = spec.weights_start
        weights = inputs.merged[: batch.tokens, start : start + spec.heads]
        weights[:] = -1.0 if kind == "negative" else random.integers(-1, 2, weights.shape)
    for slot, past in zip(batch.slots, batch.history, strict=True):
        shape = (past // spec.pool, spec.columns)
        keys = {
            "equal": np.ones(shape),
            "few values": random.integers(0, 2, (shape[0], 1)) * np.ones(shape),
            "zeros": np.zeros(shape),
            "negative": random.integers(-1, 2, shape),
        }[kind]
        inputs.fill(batch, slot, keys.astype(np.float64))
    wanted, _ = inputs.expected(batch)
    for workers in (1, 3):
        assert np.array_equal(inputs.run(replace(batch, workers=workers)), wanted)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_lists_are_complete_for_any_bits(spec: Spec) -> None:
    """NaN, infinities, denormals: a list is ascending and within the past, whoever runs it."""
    batch = batch_of(spec, (1, 20, 3), (9100, 3000, 700))
    inputs = Inputs(spec, batch)
    random = np.random.default_rng(3)
    bits = random.integers(0, 2**32, inputs.merged[: batch.tokens].shape, dtype=np.uint32)
    inputs.merged[: batch.tokens] = bits.view(np.float32)
    whole = np.iinfo(inputs.pool.view(f"u{inputs.pool.itemsize}").dtype)
    inputs.pool[:] = random.integers(
        0, whole.max, inputs.pool.shape, dtype=whole.dtype, endpoint=True
    ).view(inputs.pool.dtype)
    found = inputs.run(batch)
    for part in batch.reference:
        for row, position in zip(range(part.start, part.stop), part.positions, strict=True):
            complete = (position + 1) // spec.pool
            used = min(spec.count, complete)
            assert (np.diff(found[row, :used]) > 0).all()
            assert ((found[row, :used] >= 0) & (found[row, :used] < complete)).all()
            assert (found[row, used:] == -1).all()
    assert np.array_equal(inputs.run(replace(batch, workers=3)), found)
