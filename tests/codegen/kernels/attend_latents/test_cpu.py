"""Attention to latents against the float64 reference, and its bits."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from sala_compile.codegen.kernels.arguments import workspaces_of
from sala_compile.codegen.kernels.attend_latents.cpu.kernel import FAMILY
from sala_compile.codegen.kernels.attend_latents.spec import Spec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.attention_sizes import LatentHeads
from sala_compile.sala_ir.reference import attend_latents, exact, to_bfloat16
from tests.support.columns import column_starts, side_by_side
from tests.support.pools import loaded, stored
from tests.support.steps import EXTRA, Library, Step, padded, poisoned, step

HOST = CpuTarget.host()
PORTABLE = CpuTarget("x86-64-v3")
CONTEXT = 17000


def spec_of(
    heads: int,
    latent: int,
    rotary: int,
    element: Element,
    block: int = 64,
    blocks: int = 1,
    count: int = 0,
    pool: int = 0,
) -> Spec:
    """A spec whose float32 operands stand side by side in one buffer."""
    key_dim = 5
    sizes = {"q": heads * (key_dim + rotary), "latent": latent, "rotary": rotary}
    views, _ = column_starts(sizes)
    if not rotary:
        views |= {"rotary_start": 0, "rotary_pitch": 0}
    absorbed = {"absorbed_start": 0, "absorbed_pitch": padded(heads * latent)}
    shape = (heads, key_dim, rotary, latent, (key_dim + rotary) ** -0.5, block, blocks)
    return Spec(*shape, element, **absorbed, **views, count=count, pool=pool)


SPECS = (
    spec_of(4, 24, 8, Element.F32),
    spec_of(4, 24, 8, Element.BF16),
    spec_of(40, 256, 32, Element.BF16),
    spec_of(17, 46, 2, Element.BF16, block=16),
    spec_of(17, 46, 2, Element.F32, block=64, blocks=2),
    spec_of(1, 2, 2, Element.BF16),
    spec_of(64, 32, 16, Element.F32, block=48),
    spec_of(130, 64, 6, Element.BF16),
    spec_of(5, 22, 0, Element.BF16),
    spec_of(3, 24, 0, Element.F32, count=4, pool=8),
    spec_of(4, 24, 8, Element.F32, count=48, pool=1),
    spec_of(4, 24, 8, Element.BF16, count=48, pool=1),
    spec_of(128, 512, 64, Element.BF16, count=2048, pool=1),
    spec_of(17, 46, 2, Element.BF16, block=16, count=9, pool=2),
    spec_of(17, 46, 2, Element.F32, blocks=2, count=300, pool=4),
    spec_of(1, 2, 2, Element.BF16, count=1, pool=1),
    spec_of(20, 32, 16, Element.F32, block=48, count=5, pool=3),
    spec_of(33, 64, 6, Element.BF16, count=8, pool=8),
    spec_of(5, 30, 4, Element.BF16, count=20, pool=64),
)
PORTABLE_SPECS = (SPECS[0], SPECS[1], SPECS[3], SPECS[8], SPECS[11], SPECS[14])


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
        self.sizes = {
            "q": spec.num_heads * (spec.key_dim + spec.rotary_dim),
            "latent": spec.latent_dim,
            "rotary": spec.rotary_dim,
        }
        self.merged = side_by_side(tokens, self.sizes, random)
        self.merged[:tokens, spec.q_start :] *= 2.0
        columns = spec.num_heads * spec.latent_dim
        self.absorbed = poisoned(tokens + EXTRA, padded(columns), dtype=spec.element.dtype)
        drawn = 2.0 * random.standard_normal((tokens, columns))
        self.absorbed[:tokens, :columns] = stored(drawn, spec.element)
        shape = (int(batch.pages.max()) + 1, spec.page_tokens, spec.row)
        self.pool = poisoned(*shape, dtype=spec.element.dtype)
        self.past: dict[int, np.ndarray] = {}
        for slot, history in zip(batch.slots, batch.history, strict=True):
            rows = stored(random.standard_normal((history, spec.columns)), spec.element)
            self.past[slot] = loaded(rows, spec.element)
            for t, row in enumerate(rows):
                page = batch.pages[slot, t // spec.page_tokens]
                self.pool[page, t % spec.page_tokens, : spec.columns] = row
        self.selection = None
        if spec.is_selected:
            self.selection = poisoned(tokens + EXTRA, spec.count, dtype=np.int32)
            self.selection[:tokens] = drawn_selection(spec, batch, random)

    def rows(self, rows: slice) -> "Inputs":
        """The same inputs for a part of the tokens; the pool is shared."""
        part = object.__new__(Inputs)
        part.spec, part.sizes, part.pool, part.past = self.spec, self.sizes, self.pool, self.past
        part.merged, part.absorbed = (_cut(x, rows) for x in (self.merged, self.absorbed))
        part.selection = None if self.selection is None else _cut(self.selection, rows)
        return part

    def run(self, batch: Step, target: CpuTarget = HOST) -> np.ndarray:
        """The kernel's output as it is stored; the pool changes in place."""
        spec = self.spec
        used = spec.num_heads * spec.latent_dim
        out = poisoned(batch.tokens + EXTRA, padded(used), dtype=spec.element.dtype)
        before = out[batch.tokens :].copy()
        declared = FAMILY.arguments(spec, FAMILY.default_schedule(spec, target))
        fields = batch.fields(declared)
        spaces = [
            poisoned(batch.workers, space.elements, dtype=space.dtype)
            for space in workspaces_of(declared)
        ]
        merged = [self.merged] * (3 if spec.rotary_dim else 1)  # q is read for its rotary part
        inputs = [self.absorbed, *merged, self.pool]
        inputs += [] if self.selection is None else [self.selection]
        library(target).call(spec.symbol, *fields.values(), *inputs, out, *spaces)
        assert out[batch.tokens :].tobytes() == before.tobytes()
        assert (out[: batch.tokens, used:] == 0).all()
        return out[: batch.tokens, :used]

    def expected(self, batch: Step) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """The reference's output and rows, in float64."""
        spec, tokens = self.spec, batch.tokens
        merged = self.merged[:tokens].astype(np.float64)
        q, latent, rotary = (
            merged[:, start : start + size]
            for name, size in self.sizes.items()
            for start in [getattr(spec, f"{name}_start")]
        )
        used = spec.num_heads * spec.latent_dim
        absorbed = loaded(self.absorbed[:tokens, :used], spec.element)
        rounding = to_bfloat16 if spec.element is Element.BF16 else exact
        heads = LatentHeads(
            spec.num_heads, spec.key_dim, spec.rotary_dim, spec.latent_dim, 1, spec.scale
        )
        selection = None if self.selection is None else self.selection[:tokens]
        rotated = rotary if spec.rotary_dim else None
        operands = (absorbed, q, latent, rotated, self.past, batch.reference, selection)
        roundings = {"cache_rounding": rounding, "operand_rounding": rounding}
        out, cache = attend_latents(*operands, heads=heads, pool=spec.pool, **roundings)
        return out, dict(cache)


def drawn_selection(spec: Spec, batch: Step, random: np.random.Generator) -> np.ndarray:
    """Pools for each token: all where they are few, else any, ascending."""
    found = np.full((batch.tokens, spec.count), -1, np.int32)
    for part in batch.reference:
        for row, position in zip(range(part.start, part.stop), part.positions, strict=True):
            complete = (position + 1) // spec.pool
            used = min(complete, spec.count)
            found[row, :used] = np.sort(random.permutation(complete)[:used])
    return found


def _cut(x: np.ndarray, rows: slice) -> np.ndarray:
    found = poisoned(rows.stop - rows.start + EXTRA, x.shape[1], dtype=x.dtype)
    found[: rows.stop - rows.start] = x[rows]
    return found


def batch_of(spec: Spec, counts: Sequence[int], history: Sequence[int], workers: int = 2) -> Step:
    """A step over pages of the spec."""
    return step(counts, history, block_size=spec.page_tokens, context=CONTEXT, workers=workers)


BATCHES = (
    ((1, 70, 9, 1), (0, 0, 5, 1)),
    ((1, 3, 66), (1500, 63, 200)),
    ((1,), (3000,)),
    ((3,), (16382,)),
)
BATCH_IDS = ("short", "long", "split", "longer segments")


@pytest.mark.parametrize(
    ("spec", "target"),
    [(spec, HOST) for spec in SPECS] + [(spec, PORTABLE) for spec in PORTABLE_SPECS],
    ids=lambda x: x.symbol if isinstance(x, Spec) else x.name,
)
@pytest.mark.parametrize(("counts", "history"), BATCHES, ids=BATCH_IDS)
def test_equals_reference(
    spec: Spec, target: CpuTarget, counts: tuple[int, ...], history: tuple[int, ...]
) -> None:
    batch = batch_of(spec, counts, history)
    inputs = Inputs(spec, batch)
    wanted, cache = inputs.expected(batch)
    found = loaded(inputs.run(batch, target), spec.element)
    limit = 3e-6 if spec.element is Element.F32 else 1e-2
    assert np.abs(found - wanted).max() <= limit * np.abs(wanted).max()
    for slot, past, new in zip(batch.slots, history, counts, strict=True):
        for t in range(max(0, past - 2), past + new):
            page = batch.pages[slot, t // spec.page_tokens]
            row = inputs.pool[page, t % spec.page_tokens, : spec.columns]
            assert np.array_equal(loaded(row, spec.element), _as(cache[slot][t], spec.element))


def _as(values: np.ndarray, element: Element) -> np.ndarray:
    return loaded(stored(values, element), element)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_bits_do_not_depend_on_batch_cuts_and_workers(spec: Spec) -> None:
    batch = batch_of(spec, (1, 70, 3), (1100, 130, 63))
    inputs = Inputs(spec, batch)
    together = inputs.run(batch)
    for workers in (1, 3):
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
            assert np.array_equal(inputs.rows(row).run(alone), together[row])
