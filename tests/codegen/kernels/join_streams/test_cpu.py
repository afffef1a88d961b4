"""Streams as one against the float64 reference."""

from functools import cache

import numpy as np
import pytest

from sala_compile.codegen.kernels.join_streams.cpu import FAMILY
from sala_compile.codegen.kernels.join_streams.spec import Spec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.reference import join_streams
from tests.support.rows import close, exact
from tests.support.steps import EXTRA, Library, aligned, padded, poisoned

HOST = CpuTarget.host()
PORTABLE = CpuTarget("x86-64-v3")
F32, BF16 = Element.F32, Element.BF16


def spec_of(
    streams: int, columns: int, *, shared: bool = True, start: int = 0, out: Element = F32
) -> Spec:
    """A spec whose streams, of `columns` each, and shares are columns from `start` on."""
    shares = (start, padded(streams + start)) if shared else (0, 0)
    return Spec(streams, columns, shared, start, padded(streams * columns + start), *shares, out)


SPECS = (
    spec_of(4, 64),
    spec_of(4, 37, start=3, out=BF16),
    spec_of(1, 33),
    spec_of(2, 7, start=1),
    spec_of(3, 501),
    spec_of(4, 100, shared=False, start=5),
    spec_of(3, 1, shared=False),
)


@cache
def library(target: CpuTarget) -> Library:
    """The kernels of all specs for a target."""
    return Library([FAMILY.build(spec, target) for spec in SPECS], target)


def run(spec: Spec, tokens: int, target: CpuTarget, workers: int = 2) -> tuple[np.ndarray, ...]:
    """What the kernel and the reference make of random rows; all else is poisoned."""
    random = np.random.default_rng(tokens)
    control = np.zeros(16, np.int32)
    control[0], control[3] = tokens, workers
    x = random.standard_normal((tokens, spec.streams * spec.columns)).astype(np.float32)
    shares = random.standard_normal((tokens, spec.streams)).astype(np.float32)
    buffers = [poisoned(tokens + EXTRA, spec.x_pitch)]
    buffers[0][:tokens, spec.x_start :][:, : x.shape[1]] = x
    if spec.shared:
        buffers.append(poisoned(tokens + EXTRA, spec.shares_pitch))
        buffers[1][:tokens, spec.shares_start :][:, : spec.streams] = shares
    found = poisoned(tokens + EXTRA, padded(spec.columns), dtype=spec.out_element.dtype)
    library(target).call(spec.symbol, aligned(control), *buffers, found)
    assert np.isnan(exact(found[tokens:])).all()
    assert (exact(found[:tokens, spec.columns :]) == 0).all()
    given = shares.astype(np.float64) if spec.shared else None
    expected = join_streams(x.astype(np.float64), given, streams=spec.streams)
    return found[:tokens, : spec.columns], expected


@pytest.mark.parametrize("target", [HOST, PORTABLE], ids=lambda target: target.name)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_equals_reference(spec: Spec, target: CpuTarget) -> None:
    for tokens in (0, 1, 3, 200):
        close(*run(spec, tokens, target), spec.out_element)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_threads_change_no_bit(spec: Spec) -> None:
    found = [run(spec, 200, HOST, workers)[0] for workers in (1, 2, 5)]
    assert all(np.array_equal(each, found[0]) for each in found)
