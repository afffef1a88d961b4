"""Attention to chosen pools against the float64 reference, and its bits."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from sala_compile.codegen.kernels.arguments import workspaces_of
from sala_compile.codegen.kernels.attend_pools.cpu.kernel import FAMILY
from sala_compile.codegen.kernels.attend_pools.spec import Spec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.attention_sizes import Heads
from sala_compile.sala_ir.reference import attend_blocks, attend_pools, exact, to_bfloat16
from tests.support.columns import column_starts, side_by_side
from tests.support.pools import Pools, loaded, rounded
from tests.support.steps import EXTRA, Library, Step, aligned, padded, poisoned, step

HOST = CpuTarget.host()
PORTABLE = CpuTarget("x86-64-v3")
F32, BF16 = Element.F32, Element.BF16
CONTEXT = 4096


def spec_of(
    heads: int,
    kv_heads: int,
    size: int,
    pool: int,
    count: int,
    element: Element,
    *,
    page: int = 64,
    gate: bool = False,
    out: Element = F32,
) -> Spec:
    """A spec whose queries and gates are columns of one buffer."""
    sizes = {"q": heads * size, **({"gate": heads * size} if gate else {})}
    views, _ = column_starts(sizes)
    shape = (heads, kv_heads, size, size**-0.5, pool, count, page)
    return Spec(*shape, element, out, **views)


SPECS = (
    spec_of(4, 2, 16, 8, 8, F32, gate=True),
    spec_of(4, 2, 16, 8, 8, BF16, gate=True),
    spec_of(16, 2, 64, 16, 40, BF16, gate=True, out=BF16),
    spec_of(6, 2, 34, 64, 9, F32),
    spec_of(5, 1, 18, 1, 300, BF16),
    spec_of(3, 3, 20, 1, 70, F32, gate=True),
    spec_of(12, 1, 32, 3, 200, BF16, page=48),
    spec_of(12, 1, 32, 6, 100, F32, page=48),
    spec_of(40, 2, 8, 32, 30, BF16),
    spec_of(2, 1, 2, 2, 1, BF16),
    spec_of(2, 2, 130, 4, 150, BF16, page=128),
)
PORTABLE_SPECS = (SPECS[0], SPECS[1], SPECS[4], SPECS[6])


@cache
def library(target: CpuTarget) -> Library:
    """The kernels of all specs for a target."""
    specs = SPECS if target == HOST else PORTABLE_SPECS
    return Library([FAMILY.build(spec, target) for spec in specs], target)


class Inputs:
    """Random inputs and a random choice of pools, poisoned wherever nobody may read."""

    def __init__(self, spec: Spec, batch: Step, seed: int = 0):
        random = np.random.default_rng(seed)
        self.spec, self.batch = spec, batch
        self.sizes = {"q": spec.num_heads * spec.head_dim}
        self.sizes |= {"gate": self.sizes["q"]} if spec.gate_pitch else {}
        self.merged = side_by_side(batch.tokens, self.sizes, random)
        self.pools = Pools.poisoned(
            batch,
            kv_heads=spec.kv_heads,
            block_size=spec.page_tokens,
            stride=spec.page_tokens,
            head_dim=spec.head_dim,
            element=spec.element,
        )
        self.kv: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.selection = poisoned(batch.tokens + EXTRA, spec.count, dtype=np.int32)
        for part in batch.reference:
            shape = (part.length, spec.kv_heads, spec.head_dim)
            keys, values = (rounded(random.standard_normal(shape), spec.element) for _ in range(2))
            self.kv[part.slot] = keys, values
            self.pools.fill(batch, part.slot, keys, values)
            for row, position in zip(range(part.start, part.stop), part.positions, strict=True):
                complete = (int(position) + 1) // spec.pool
                chosen = random.permutation(complete)[: spec.count]
                self.selection[row] = -1
                self.selection[row, : len(chosen)] = np.sort(chosen)

    def run(
        self,
        target: CpuTarget = HOST,
        batch: Step | None = None,
        rows: slice | None = None,
        pools: Pools | None = None,
    ) -> np.ndarray:
        """The kernel's output for some rows, as floats."""
        spec, batch, pools = self.spec, batch or self.batch, pools or self.pools
        rows = rows or slice(0, batch.tokens)
        used = spec.num_heads * spec.head_dim
        out = poisoned(batch.tokens + EXTRA, padded(used), dtype=spec.out_element.dtype)
        before = out[batch.tokens :].copy()
        declared = FAMILY.arguments(spec, FAMILY.default_schedule(spec, target))
        spaces = [
            poisoned(batch.workers, space.elements, dtype=space.dtype)
            for space in workspaces_of(declared)
        ]
        merged, selection = (aligned(x[rows.start :]) for x in (self.merged, self.selection))
        gate = [merged] if spec.gate_pitch else []
        inputs = [merged, pools.k, pools.v, selection, *gate]
        fields = batch.fields(declared).values()
        library(target).call(spec.symbol, *fields, *inputs, out, *spaces)
        assert out[batch.tokens :].tobytes() == before.tobytes()
        assert (out[: batch.tokens, used:] == 0).all()
        return loaded(out[: batch.tokens, :used], spec.out_element)

    def operand(self, name: str) -> np.ndarray | None:
        """Queries or gates in float64; None for gates that are not there."""
        if name not in self.sizes:
            return None
        start = getattr(self.spec, f"{name}_start")
        found = self.merged[: self.batch.tokens, start : start + self.sizes[name]]
        return found.astype(np.float64)

    @property
    def heads(self) -> Heads:
        """The heads of the spec."""
        spec = self.spec
        return Heads(spec.num_heads, spec.kv_heads, spec.head_dim, spec.scale)

    def expected(self) -> np.ndarray:
        """The reference's output, in float64."""
        q, gate = self.operand("q"), self.operand("gate")
        chosen = self.selection[: self.batch.tokens]
        return attend_pools(
            q,
            self.kv,
            self.batch.reference,
            chosen,
            gate,
            heads=self.heads,
            pool=self.spec.pool,
            operand_rounding=to_bfloat16 if self.spec.element is BF16 else exact,
        )

    def limit(self, wanted: np.ndarray) -> float:
        """The largest difference that rounding explains."""
        own = 4e-3 if self.spec.element is BF16 else 3e-6
        return max(own, 8e-3 * (self.spec.out_element is BF16)) * float(np.abs(wanted).max())


def batch_of(spec: Spec, counts: Sequence[int], history: Sequence[int], workers: int = 2) -> Step:
    """A step over pages of the spec."""
    page = spec.page_tokens
    return step(counts, history, block_size=page, context=CONTEXT, workers=workers)


BATCHES = (
    ((1, 70, 9, 1, 2), (0, 0, 5, 1, 127)),
    ((1, 3, 66), (1500, 63, 700)),
    ((1,), (3000,)),
    ((2, 1), (2047, 1039)),
)


@pytest.mark.parametrize(
    ("spec", "target"),
    [(spec, HOST) for spec in SPECS] + [(spec, PORTABLE) for spec in PORTABLE_SPECS],
    ids=lambda x: x.symbol if isinstance(x, Spec) else x.name,
)
@pytest.mark.parametrize(("counts", "history"), BATCHES, ids=("short", "long", "split", "pairs"))
def test_equals_reference(
    spec: Spec, target: CpuTarget, counts: tuple[int, ...], history: tuple[int, ...]
) -> None:
    inputs = Inputs(spec, batch_of(spec, counts, history))
    wanted = inputs.expected()
    assert np.abs(inputs.run(target) - wanted).max() <= inputs.limit(wanted)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_a_short_past_is_read_whole(spec: Spec) -> None:
    """As long as every complete pool is listed the result is that of dense attention."""
    longest = spec.count * spec.pool + spec.pool - 1
    counts = (min(longest, 60), 1)
    inputs = Inputs(spec, batch_of(spec, counts, (0, longest - 1 if longest < CONTEXT else 900)))
    rounding = to_bfloat16 if spec.element is BF16 else exact
    wanted, _ = attend_blocks(
        inputs.operand("q"),
        inputs.kv,
        inputs.batch.reference,
        gate=inputs.operand("gate"),
        heads=inputs.heads,
        block_size=spec.page_tokens,
        operand_rounding=rounding,
    )
    assert np.abs(inputs.run() - wanted).max() <= inputs.limit(wanted)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_bits_do_not_depend_on_batch_cuts_and_workers(spec: Spec) -> None:
    batch = batch_of(spec, (1, 40, 3), (1100, 130, 63))
    inputs = Inputs(spec, batch)
    together = inputs.run()
    for workers in (1, 3, 64):
        assert np.array_equal(inputs.run(batch=replace(batch, workers=workers)), together)
    for index, slot in enumerate(batch.slots):
        for done in range(batch.counts[index]):
            alone = replace(
                batch,
                counts=(1,),
                history=(batch.history[index] + done,),
                slots=(slot,),
                call_lengths=(batch.call_lengths[index],),
                workers=1 + done % 4,
            )
            row = slice(batch.offsets[index] + done, batch.offsets[index] + done + 1)
            assert np.array_equal(inputs.run(batch=alone, rows=row), together[row])


@pytest.mark.parametrize("spec", [s for s in SPECS if s.pool > 1], ids=lambda spec: spec.symbol)
def test_pools_that_are_not_listed_are_not_read(spec: Spec) -> None:
    """A token gives the same bits where everything else is poisoned, whatever neighbours hold."""
    inputs = Inputs(spec, batch_of(spec, (1,), (1403,)))
    whole, pools = inputs.run(), inputs.pools.copy()
    (part,) = inputs.batch.reference
    chosen = set(inputs.selection[0].tolist()) | {(part.length) // spec.pool}
    poison = np.nan if spec.element is F32 else 0xFFFF
    pages, pack = inputs.batch.pages[part.slot], spec.element.pack
    for pool in set(range(part.length // spec.pool)) - chosen:
        for token in range(pool * spec.pool, (pool + 1) * spec.pool):
            page, place = pages[token // spec.page_tokens], token % spec.page_tokens
            pools.k[page, :, :, place] = poison
            pools.v[page, :, place // pack, :, place % pack] = poison
    assert np.array_equal(inputs.run(pools=pools), whole)
