"""Pools of tokens against the float64 reference."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from sala_compile.codegen.kernels.pool_tokens.cpu import FAMILY
from sala_compile.codegen.kernels.pool_tokens.spec import Spec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.reference import pool_tokens
from tests.support.columns import column_starts, side_by_side
from tests.support.steps import EXTRA, Library, Step, aligned, padded, poisoned, step

FIELDS = ("control", "offsets", "history", "slots", "checkpoints")
HOST = CpuTarget.host()
PORTABLE = CpuTarget("x86-64-v3")


def spec_of(columns: int, pool: int, *, gated: bool) -> Spec:
    """A spec whose operands are columns of a wider buffer."""
    views, _ = column_starts({"x": columns, "gate": columns})
    if not gated:
        views |= {"gate_start": 0, "gate_pitch": 0}
    return Spec(columns=columns, pool=pool, gated=gated, out_element=Element.F32, **views)


SPECS = (
    spec_of(48, 8, gated=True),
    spec_of(100, 4, gated=False),
    spec_of(7, 2, gated=True),
    spec_of(64, 3, gated=False),
    spec_of(33, 16, gated=True),
    spec_of(16, 64, gated=True),
    spec_of(13, 2, gated=False),
)


@cache
def library(target: CpuTarget) -> Library:
    """The kernels of all specs for a target."""
    return Library([FAMILY.build(spec, target) for spec in SPECS], target)


class Inputs:
    """Random inputs of a spec for `tokens` rows, poisoned wherever nobody may read."""

    def __init__(self, spec: Spec, tokens: int, slots: int, seed: int = 0):
        random = np.random.default_rng(seed)
        self.spec, columns = spec, spec.columns
        self.rows = side_by_side(tokens, {"x": columns, "gate": columns}, random)
        shape = (slots, spec.pool - 1, spec.kept_columns)
        self.state = aligned(random.standard_normal(shape).astype(np.float32))
        self.place = aligned(np.zeros((spec.pool, padded(columns)), np.float32))
        self.place[:, :columns] = 3 * random.standard_normal((spec.pool, columns))

    def run(self, batch: Step, target: CpuTarget, first: int = 0) -> np.ndarray:
        """The kernel's output for the rows from `first` on; the state changes in place."""
        spec = self.spec
        out = poisoned(batch.tokens + EXTRA, padded(spec.columns))
        fields = [batch.field(name) for name in FIELDS]
        rows = aligned(self.rows[first : first + batch.tokens + EXTRA])
        gate = [rows, self.place] if spec.gated else []
        library(target).call(spec.symbol, *fields, rows, *gate, self.state, out)
        assert np.isnan(out[batch.tokens :]).all()
        assert (out[: batch.tokens, spec.columns :] == 0).all()
        return out[: batch.tokens, : spec.columns]

    def expected(self, batch: Step) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """The reference's output and states."""
        spec, columns = self.spec, self.spec.columns
        views, _ = column_starts({"x": columns, "gate": columns})
        x, gate = (
            self.rows[: batch.tokens, start : start + columns].astype(np.float64)
            for start in (views["x_start"], views["gate_start"])
        )
        state = {slot: each.astype(np.float64) for slot, each in enumerate(self.state)}
        place = self.place[:, :columns].astype(np.float64)
        out, states = pool_tokens(
            x,
            state,
            batch.reference,
            *((gate, place) if spec.gated else ()),
            pool=spec.pool,
        )
        return out, dict(states)


def close(actual: np.ndarray, expected: np.ndarray) -> bool:
    """Equal to a few float32 roundings of the largest value."""
    return bool(np.abs(actual - expected).max() <= 4e-6 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("target", [HOST, PORTABLE], ids=lambda target: target.name)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_equals_reference(spec: Spec, target: CpuTarget) -> None:
    batch = step((1, 9, 2, 140, 1, 64), (0, 0, 5, 71, 63, 3))
    inputs = Inputs(spec, batch.tokens, 8)
    for slot, past in zip(batch.slots, batch.history, strict=True):
        inputs.state[slot, past:] = 0 if past else np.nan  # places of tokens that never were
    before = inputs.state.copy()
    out, states = inputs.expected(batch)
    assert close(inputs.run(batch, target), out)
    for slot in range(8):
        wanted = states[slot] if slot in batch.slots else before[slot]
        assert np.array_equal(inputs.state[slot], wanted.astype(np.float32), equal_nan=True)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_rows_are_those_of_whole_pools(spec: Spec) -> None:
    """By the definition, without the reference."""
    columns, pool, tokens = spec.columns, spec.pool, 130
    inputs = Inputs(spec, tokens, 3)
    found = inputs.run(replace(step((tokens,)), slots=(0,)), HOST)
    views, _ = column_starts({"x": columns, "gate": columns})
    x = inputs.rows[:tokens, views["x_start"] :][:, :columns].astype(np.float64)
    gate = inputs.rows[:tokens, views["gate_start"] :][:, :columns].astype(np.float64)
    for token in range(tokens):
        rows, weights = slice(token - pool + 1, token + 1), np.full((pool, columns), 1 / pool)
        if (token + 1) % pool:
            assert not found[token].any()
            continue
        if spec.gated:
            weights = np.exp(gate[rows] + inputs.place[:, :columns])
            weights /= weights.sum(0)
        assert close(found[token], (weights * x[rows]).sum(0))


@pytest.mark.parametrize("pieces", [(1,) * 70, (63, 7), (3, 60, 2, 5), (64, 6)], ids=len)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_any_cut_gives_the_same_bits(spec: Spec, pieces: Sequence[int]) -> None:
    inputs = Inputs(spec, 70, 3)
    whole = inputs.run(replace(step((70,)), slots=(0,)), HOST)
    state = inputs.state.copy()
    first, found = 0, []
    for count in pieces:
        found.append(inputs.run(replace(step((count,), (first,)), slots=(0,)), HOST, first))
        first += count
    assert np.array_equal(np.concatenate(found), whole)
    assert np.array_equal(inputs.state[0], state[0])


@pytest.mark.parametrize("history", [0, 2, 63])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_states_after_drafted_tokens_are_kept_as_of_single_steps(spec: Spec, history: int) -> None:
    """In the rows from the checkpoint on, but the last, which is in the sequence's own row."""
    both = step((4, 3), (history, 9), generated=(True, True))
    both = replace(both, slots=(0, 1), checkpoints=(2, -1))
    inputs = Inputs(spec, both.tokens, 7)
    begin = inputs.state.copy()
    together = inputs.run(both, HOST)
    kept = inputs.state.copy()
    inputs.state[...] = begin
    for length in range(4):
        alone = replace(step((1,), (history + length,), generated=(True,)), slots=(0,))
        assert np.array_equal(inputs.run(alone, HOST, length), together[length : length + 1])
        assert np.array_equal(inputs.state[0], kept[2 + length if length < 3 else 0])
    assert np.array_equal(kept[5:], begin[5:])


def test_threads_and_neighbours_change_no_bit() -> None:
    spec = SPECS[0]
    batch = step((30, 1, 700), (3, 9, 0))
    inputs = Inputs(spec, batch.tokens, 5)
    before = inputs.state.copy()
    together = inputs.run(batch, HOST)
    states = inputs.state.copy()
    for index, slot in enumerate(batch.slots):
        rows = slice(batch.offsets[index], batch.offsets[index + 1])
        alone = step(batch.counts[index : index + 1], batch.history[index : index + 1], workers=1)
        inputs.state[...] = before
        found = inputs.run(replace(alone, slots=(slot,)), HOST, rows.start)
        assert np.array_equal(found, together[rows])
        assert np.array_equal(inputs.state[slot], states[slot])
