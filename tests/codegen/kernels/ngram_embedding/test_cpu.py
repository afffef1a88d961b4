"""Rows of hashed n-grams against whole numbers of Python, exactly."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from sala_compile.codegen.kernels.ngram_embedding.cpu import FAMILY
from sala_compile.codegen.kernels.ngram_embedding.spec import Spec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.reference import ngram_rows
from tests.support.ngrams import rows_by_hand
from tests.support.pools import loaded, stored
from tests.support.steps import EXTRA, Library, Step, aligned, padded, poisoned, step

HOST = CpuTarget.host()
PORTABLE = CpuTarget("x86-64-v3")
F32, BF16 = Element.F32, Element.BF16
END = 2


def spec_of(
    sizes: Sequence[int], columns: int, factors: Sequence[int], table: Element, out: Element = F32
) -> Spec:
    """A spec whose table has some rows that no head reads."""
    return Spec(sum(sizes) + 5, columns, tuple(factors), tuple(sizes), END, table, out)


LARGE = 2**63 - 1
SPECS = (
    spec_of((53, 59, 61, 67), 8, (LARGE, 3, LARGE - 2), F32),
    spec_of((53, 59, 61, 67), 8, (3, 5, 7), BF16, BF16),
    spec_of((7, 11, 13), 33, (2**62 + 1, LARGE, 12345678901234567, 2**61 - 1), BF16),
    spec_of((1009,), 16, (LARGE, LARGE - 4), F32),
    spec_of(tuple(range(101, 125)), 20, (LARGE, 987654321987654321, 2**40 + 1), F32, BF16),
)


@cache
def library(target: CpuTarget) -> Library:
    """The kernels of all specs for a target."""
    return Library([FAMILY.build(spec, target) for spec in SPECS], target)


class Inputs:
    """Random ids of sequences with many ends, and the windows of their histories."""

    def __init__(self, spec: Spec, batch: Step, seed: int = 0):
        random = np.random.default_rng(seed)
        self.spec, self.batch = spec, batch
        table = random.standard_normal((spec.rows, spec.columns))
        self.table = poisoned(spec.rows, padded(spec.columns), dtype=spec.table.dtype)
        self.table[:, : spec.columns] = stored(table, spec.table)
        self.texts = {
            part.slot: np.where(
                random.random(part.length) < 0.3, END, random.integers(0, 2**31 - 1, part.length)
            ).astype(np.int32)
            for part in batch.reference
        }
        slots = len(batch.slots) + 8
        self.window = poisoned(slots, spec.kept, dtype=np.int32)
        self.tokens = poisoned(batch.tokens + EXTRA, dtype=np.int32)
        for part in batch.reference:
            text = self.texts[part.slot]
            self.tokens[part.start : part.stop] = text[part.history :]
            if part.history:
                self.window[part.slot] = kept_after(text, part.history, spec.kept)

    def run(
        self, target: CpuTarget = HOST, batch: Step | None = None, first: int = 0
    ) -> np.ndarray:
        """The kernel's output; the window changes in place."""
        spec, batch = self.spec, batch or self.batch
        used = len(spec.sizes) * spec.columns
        out = poisoned(batch.tokens + EXTRA, padded(used), dtype=spec.output.dtype)
        before = out[batch.tokens :].copy()
        fields = batch.fields(FAMILY.arguments(spec, None)).values()
        tokens = aligned(self.tokens[first:])
        library(target).call(spec.symbol, *fields, tokens, self.table, self.window, out)
        assert out[batch.tokens :].tobytes() == before.tobytes()
        assert (out[: batch.tokens, used:] == 0).all()
        return loaded(out[: batch.tokens, :used], spec.output)

    def by_hand(self) -> np.ndarray:
        """The rows that Python's whole numbers name, one by one."""
        spec = self.spec
        table, found = loaded(self.table[:, : spec.columns].copy(), spec.table), []
        for part in self.batch.reference:
            text = self.texts[part.slot].tolist()
            rows = rows_by_hand(text, spec.multipliers, spec.sizes, END)[part.history :]
            found.append(table[np.array(rows, np.int64)].reshape(part.count, -1))
        return loaded(stored(np.concatenate(found), spec.output), spec.output)


def kept_after(text: np.ndarray, length: int, kept: int) -> np.ndarray:
    """The last ids of a text of `length`, 0 for those that are not there."""
    return np.concatenate([np.zeros(kept, np.int32), text[:length]])[-kept:]


@pytest.mark.parametrize("target", [HOST, PORTABLE], ids=lambda target: target.name)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_rows_are_exactly_those_of_whole_numbers(spec: Spec, target: CpuTarget) -> None:
    batch = step((1, 9, 2, 300, 1, 1, 3), (0, 0, 1, 70, 3, 1, 2))
    inputs = Inputs(spec, batch)
    before = inputs.window.copy()
    wanted = inputs.by_hand()
    window = {slot: each.copy() for slot, each in enumerate(inputs.window)}
    sizes = {"multipliers": spec.multipliers, "sizes": spec.sizes, "end": END}
    rows, kept = ngram_rows(inputs.tokens[: batch.tokens], window, batch.reference, **sizes)
    table = loaded(inputs.table[:, : spec.columns].copy(), spec.table)
    own = loaded(stored(table[rows].reshape(batch.tokens, -1), spec.output), spec.output)
    assert np.array_equal(own, wanted)
    assert np.array_equal(inputs.run(target), wanted)
    for slot in range(len(before)):
        if slot not in batch.slots:
            assert np.array_equal(inputs.window[slot], before[slot])
            continue
        text = inputs.texts[slot]
        assert np.array_equal(inputs.window[slot], kept_after(text, len(text), spec.kept))
        assert np.array_equal(inputs.window[slot], kept[slot])


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_an_end_at_any_place_and_any_cut(spec: Spec) -> None:
    whole = replace(step((7,)), slots=(1,))
    for ends in range(2**7):
        inputs = Inputs(spec, whole, seed=ends)
        text = inputs.texts[1]
        text[:] = [END if ends >> place & 1 else 1000 + place for place in range(7)]
        inputs.tokens[:7] = text
        wanted = inputs.by_hand()
        cut = 1 + ends % 6
        found = [
            inputs.run(batch=replace(step((count,), (first,)), slots=(1,)), first=first)
            for first, count in ((0, cut), (cut, 7 - cut))
        ]
        assert np.array_equal(np.concatenate(found), wanted)


@pytest.mark.parametrize("history", [0, 1, 5])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_windows_after_drafted_tokens_are_kept_as_of_single_steps(spec: Spec, history: int) -> None:
    """In the rows from the checkpoint on, but the last, which is in the sequence's own row."""
    batch = replace(step((4, 3), (history, 9)), generated=(True, True))
    batch = replace(batch, slots=(0, 1), checkpoints=(2, -1))
    inputs = Inputs(spec, batch)
    begin = inputs.window.copy()
    together, kept = inputs.run(), inputs.window.copy()
    inputs.window[...] = begin
    for length in range(4):
        alone = replace(step((1,), (history + length,), generated=(True,)), slots=(0,), workers=1)
        found = inputs.run(batch=alone, first=length)
        assert np.array_equal(found, together[length : length + 1])
        assert np.array_equal(inputs.window[0], kept[2 + length if length < 3 else 0])
    assert np.array_equal(kept[5:], begin[5:])
