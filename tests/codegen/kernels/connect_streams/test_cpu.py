"""Connections of streams against the float64 reference."""

from functools import cache

import numpy as np
import pytest

from sala_compile.codegen.kernels.connect_streams.cpu import FAMILY
from sala_compile.codegen.kernels.connect_streams.spec import Spec
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.reference import connect_streams
from tests.support.rows import vector_weight
from tests.support.steps import EXTRA, Library, aligned, padded, poisoned

HOST = CpuTarget.host()
PORTABLE = CpuTarget("x86-64-v3")
TOKENS = (0, 1, 3, 16, 17, 70)


def spec_of(
    streams: int, columns: int, iterations: int, *, eps: float = 1e-6, start: int = 0
) -> Spec:
    """A spec whose logits and streams, of `columns` each, are columns from `start` on."""
    wide, count = streams * columns, streams * (streams + 2)
    pitches = (start, padded(count + start), start, padded(wide + start))
    return Spec(streams, wide, iterations, eps, 1e-5, *pitches)


SPECS = (
    spec_of(4, 64, 20),
    spec_of(4, 37, 1, start=3),
    spec_of(1, 33, 20),
    spec_of(2, 7, 20, eps=1e-3),
    spec_of(3, 1, 3, start=1),
    spec_of(3, 501, 20),
    spec_of(8, 10, 5),
)


@cache
def library(target: CpuTarget) -> Library:
    """The kernels of all specs for a target."""
    return Library([FAMILY.build(spec, target) for spec in SPECS], target)


class Inputs:
    """Random inputs of a spec, poisoned wherever nobody may read; `spread` is that of logits."""

    def __init__(self, spec: Spec, tokens: int, spread: float = 2.0):
        random = np.random.default_rng(tokens)
        self.spec, self.tokens = spec, tokens
        self.logits, self.x = (
            poisoned(tokens + EXTRA, pitch) for pitch in (spec.logits_pitch, spec.x_pitch)
        )
        numbers = random.standard_normal((tokens, spec.count)) * spread
        self.logits[:tokens, spec.logits_start :][:, : spec.count] = numbers
        rows = random.standard_normal((tokens, spec.columns)) * random.lognormal(size=(tokens, 1))
        self.x[:tokens, spec.x_start :][:, : spec.columns] = rows
        self.base = vector_weight(spec.count)
        self.scale = vector_weight(3, seed=8)

    def run(self, target: CpuTarget, rows: slice = slice(None), workers: int = 2) -> np.ndarray:
        """The kernel's numbers of some tokens."""
        spec, live = self.spec, len(range(self.tokens)[rows])
        first = range(self.tokens)[rows].start
        control = np.zeros(16, np.int32)
        control[0], control[3] = live, workers
        found = poisoned(live + EXTRA, padded(spec.count))
        (space,) = FAMILY.workspaces(spec, None)
        turned = poisoned(workers, space.elements)
        given = [aligned(each[first : first + live + EXTRA]) for each in (self.logits, self.x)]
        weights = (self.base, self.scale)
        library(target).call(spec.symbol, aligned(control), *given, *weights, found, turned)
        assert np.isnan(found[live:]).all()
        assert (found[:live, spec.count :] == 0).all()
        return found[:live, : spec.count]

    def expected(self) -> np.ndarray:
        """The reference's numbers."""
        spec, exact = self.spec, np.float64
        return connect_streams(
            self.logits[: self.tokens, spec.logits_start :][:, : spec.count].astype(exact),
            self.x[: self.tokens, spec.x_start :][:, : spec.columns].astype(exact),
            self.base[: spec.count].astype(exact),
            self.scale[:3].astype(exact),
            streams=spec.streams,
            iterations=spec.iterations,
            eps=spec.eps,
            norm_eps=spec.norm_eps,
        )


@pytest.mark.parametrize("target", [HOST, PORTABLE], ids=lambda target: target.name)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_equals_reference(spec: Spec, target: CpuTarget) -> None:
    for tokens in TOKENS:
        inputs = Inputs(spec, tokens)
        np.testing.assert_allclose(inputs.run(target), inputs.expected(), rtol=5e-6, atol=1e-7)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_streams_that_mix_almost_not_at_all(spec: Spec) -> None:
    """Softmaxes of large logits are ones and zeros, which only eps keeps from a division by 0."""
    inputs = Inputs(spec, 9, spread=300.0)
    found = inputs.run(HOST)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, inputs.expected(), rtol=2e-4, atol=2e-7)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_neighbours_and_threads_change_no_bit(spec: Spec) -> None:
    inputs = Inputs(spec, 45)
    together = inputs.run(HOST)
    for workers in (1, 3, 7):
        assert np.array_equal(inputs.run(HOST, workers=workers), together)
    for rows in (slice(0, 1), slice(7, 24), slice(44, 45)):
        assert np.array_equal(inputs.run(HOST, rows), together[rows])


def test_columns_of_what_mixes_sum_to_one() -> None:
    """And its rows nearly, after 20 iterations."""
    spec = SPECS[0]
    mix = Inputs(spec, 70, spread=0.5).run(HOST)[:, 2 * spec.streams :].reshape(-1, 4, 4)
    assert np.abs(mix.sum(1) - 1).max() < 1e-5
    assert np.abs(mix.sum(2) - 1).max() < 1e-2
