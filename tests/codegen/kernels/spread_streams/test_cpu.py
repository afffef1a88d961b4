"""What is added to streams, and their mix, against the float64 reference."""

from functools import cache

import numpy as np
import pytest

from sala_compile.codegen.kernels.spread_streams.cpu import FAMILY
from sala_compile.codegen.kernels.spread_streams.spec import Spec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.reference import spread_streams
from tests.support.rows import close, exact
from tests.support.steps import EXTRA, Library, aligned, padded, poisoned

HOST = CpuTarget.host()
PORTABLE = CpuTarget("x86-64-v3")
F32, BF16 = Element.F32, Element.BF16
ALL = ("x", "gains", "mix")


def spec_of(streams: int, columns: int, *parts: str, start: int = 0, out: Element = F32) -> Spec:
    """A spec with these operands; all are columns from `start` on."""
    sizes = {"x": streams * columns, "gains": streams, "mix": streams**2}
    views = (
        each
        for name, size in sizes.items()
        for each in ((start, padded(size + start)) if name in parts else (0, 0))
    )
    return Spec(streams, columns, start, padded(columns + start), *views, out)


SPECS = (
    spec_of(4, 64, *ALL),
    spec_of(4, 37, *ALL, start=3),
    spec_of(1, 33, *ALL),
    spec_of(2, 7, *ALL, start=1, out=BF16),
    spec_of(3, 501, *ALL),
    spec_of(8, 21, *ALL),
    spec_of(4, 50, "x", "gains", start=2),
    spec_of(3, 18, "x"),
    spec_of(4, 19, "x", "mix"),
    spec_of(3, 35, "gains"),
    spec_of(4, 35, start=4),
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
    columns = spec.streams * spec.columns
    sizes = {"y": spec.columns, "x": columns, "gains": spec.streams, "mix": spec.streams**2}
    buffers: list[np.ndarray] = []
    given: dict[str, np.ndarray] = {}
    for name, size in sizes.items():
        start, pitch = (getattr(spec, f"{name}_{what}") for what in ("start", "pitch"))
        if pitch:
            rows = random.standard_normal((tokens, size)).astype(np.float32)
            buffers.append(poisoned(tokens + EXTRA, pitch))
            buffers[-1][:tokens, start : start + size] = rows
            given[name] = rows.astype(np.float64)
    found = poisoned(tokens + EXTRA, padded(columns), dtype=spec.out_element.dtype)
    library(target).call(spec.symbol, aligned(control), *buffers, found)
    assert np.isnan(exact(found[tokens:])).all()
    assert (exact(found[:tokens, columns:]) == 0).all()
    return found[:tokens, :columns], spread_streams(**given, streams=spec.streams)


@pytest.mark.parametrize("target", [HOST, PORTABLE], ids=lambda target: target.name)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_equals_reference(spec: Spec, target: CpuTarget) -> None:
    for tokens in (0, 1, 3, 200):
        close(*run(spec, tokens, target), spec.out_element)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_threads_change_no_bit(spec: Spec) -> None:
    found = [run(spec, 200, HOST, workers)[0] for workers in (1, 2, 5)]
    assert all(np.array_equal(each, found[0]) for each in found)


def test_a_mix_is_read_from_stream_to_stream() -> None:
    """Entry (n, m) takes stream n to stream m."""
    y, x = np.zeros((1, 2)), np.arange(6.0)[None]
    mix = np.zeros((1, 9))
    mix[0, 3 * 2 + 1] = 1  # from the last to the second
    assert spread_streams(y, x, None, mix, streams=3).tolist() == [[0, 0, 4, 5, 0, 0]]
