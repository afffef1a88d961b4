"""The linear kernel against NumPy in float64, and its bits over batches and threads."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from sala_compile.codegen.kernels.linear.cpu.kernel import FAMILY
from sala_compile.codegen.kernels.linear.cpu.schedule import Blocks, Schedule, Vectors
from sala_compile.codegen.kernels.linear.cpu.spec import Spec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.panels import pack_panels, panel_shape
from sala_compile.codegen.targets.cpu import CpuTarget
from tests.support.steps import EXTRA, Library, aligned, from_bits, padded, poisoned, to_bits

HOST = CpuTarget.host()
VECTORS = replace(HOST, amx=False)
"""This machine without tiles, which have their own tests."""
PORTABLE = CpuTarget("x86-64-v3")
PLAIN = CpuTarget("x86-64")
"""No FMA: the same kernels by other instructions."""
PAIRS = CpuTarget("znver4")
"""Dot products of bf16 pairs as instructions."""
OTHERS = tuple(target for target in (PORTABLE, PLAIN, PAIRS) if target.runs_here)
ROWS = (0, 1, 2, 5, 6, 7, 13, 64, 65, 101)


def spec_of(depth: int, rows: int, weight: Element, **options: Any) -> Spec:
    """A spec without epilogue unless `options` say otherwise."""
    values = {
        "output": Element.F32,
        "scale": 1.0,
        "bias": False,
        "swiglu": False,
        "extent": "tokens",
        "x_start": 0,
        "x_pitch": padded(depth + options.get("x_start", 0)),
    }
    return Spec(depth=depth, rows=rows, weight=weight, **(values | options))


def specs() -> dict[str, Spec]:
    """Odd sizes and every epilogue, for both element types."""
    found = {}
    for kind in Element:
        found[f"{kind}-one"] = spec_of(10, 1, kind)
        found[f"{kind}-odd"] = spec_of(33, 70, kind, bias=True, scale=0.3, output=kind)
        residual = {"residual_pitch": padded(144), "scale": -1.7}
        found[f"{kind}-residual"] = spec_of(48, 130, kind, residual_start=14, **residual)
        found[f"{kind}-swiglu"] = spec_of(80, 2 * 48, kind, swiglu=True, bias=True, output=kind)
        found[f"{kind}-limit"] = spec_of(80, 2 * 48, kind, swiglu=True, limit=4.0)
        found[f"{kind}-view"] = spec_of(34, 256, kind, x_start=7, extent="logit_rows")
    return found


SPECS = specs()
ON_ALL_TARGETS = ("bf16-odd", "f32-odd", "bf16-swiglu")


@cache
def library(target: CpuTarget) -> Library:
    """The kernels for a target."""
    names = SPECS if target == HOST else ON_ALL_TARGETS
    return Library([FAMILY.build(SPECS[name], target) for name in names], target)


def stored(values: np.ndarray, kind: Element) -> np.ndarray:
    """Values in a buffer of an element type."""
    return to_bits(values) if kind is Element.BF16 else values.astype(np.float32)


def exact(buffer: np.ndarray) -> np.ndarray:
    """What a buffer holds, in float64."""
    return from_bits(buffer) if buffer.dtype == np.uint16 else buffer.astype(np.float64)


def scratch(spec: Spec, schedule: Schedule, workers: int) -> np.ndarray:
    """The workspace of a kernel."""
    return poisoned(workers, schedule.workspace(spec))


class Problem:
    """Random operands of a spec for some rows, and what the kernel must give."""

    def __init__(self, spec: Spec, rows: int, seed: int = 0):
        random = np.random.default_rng(seed)
        self.spec, self.rows = spec, rows
        self.x = poisoned(rows + EXTRA, spec.x_pitch, dtype=spec.weight.dtype)
        self.x[:rows] = stored(random.standard_normal((rows, spec.x_pitch)), spec.weight)
        weight = stored(random.standard_normal((spec.rows, spec.depth)), spec.weight)
        self.weight, self._rows = aligned(pack_panels(weight)), exact(weight)
        self.bias = self.residual = None
        if spec.bias:
            self.bias = aligned(np.zeros(padded(spec.rows), np.float32))
            self.bias[: spec.rows] = random.standard_normal(spec.rows)
        if spec.residual_pitch:
            self.residual = poisoned(rows + EXTRA, spec.residual_pitch)
            self.residual[:rows] = random.standard_normal((rows, spec.residual_pitch))

    @property
    def inputs(self) -> np.ndarray:
        """What the weight is multiplied by, in float64."""
        spec = self.spec
        return exact(self.x[: self.rows, spec.x_start : spec.x_start + spec.depth])

    @property
    def expected(self) -> np.ndarray:
        """The result in float64, without padding."""
        spec = self.spec
        y = self.inputs @ self._rows.T
        if self.bias is not None:
            y = y + self.bias[: spec.rows]
        if spec.swiglu:
            groups = y.reshape(self.rows, spec.rows // 32, 2, 16)
            gate, up = groups.transpose(2, 0, 1, 3).reshape(2, self.rows, spec.rows // 2)
            if spec.limit:
                gate, up = np.minimum(gate, spec.limit), np.clip(up, -spec.limit, spec.limit)
            y = gate / (1 + np.exp(-gate)) * up
        y = y * spec.scale
        if self.residual is not None:
            start = spec.residual_start
            y = y + self.residual[: self.rows, start : start + spec.rows]
        return y

    def run(self, target: CpuTarget, *, workers: int = 2, out: np.ndarray | None = None) -> Any:
        """The output buffer, poisoned beforehand."""
        if out is None:
            out = poisoned(self.rows + EXTRA, self.spec.columns, dtype=self.spec.output.dtype)
        control = np.zeros(16, np.int32)
        control[0 if self.spec.extent == "tokens" else 2] = self.rows
        control[3] = workers
        optional = [each for each in (self.bias, self.residual) if each is not None]
        sums = scratch(self.spec, FAMILY.default_schedule(self.spec, target), workers)
        arrays = (aligned(control), self.x, self.weight, *optional, out, sums)
        library(target).call(self.spec.symbol, *arrays)
        return out


def check(problem: Problem, out: np.ndarray) -> None:
    """The live rows are right, padding is 0, and the other rows are as poisoned as before."""
    spec, live = problem.spec, out[: problem.rows]
    columns = spec.rows // 2 if spec.swiglu else spec.rows
    tolerance = 2e-2 if spec.output is Element.BF16 else 1e-4
    np.testing.assert_allclose(exact(live[:, :columns]), problem.expected, tolerance, tolerance)
    if problem.residual is None:
        assert (live[:, columns:] == 0).all()
    rest = out[problem.rows :]
    assert (rest == 0xFFFF).all() if out.dtype == np.uint16 else np.isnan(rest).all()


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("name", SPECS)
def test_against_numpy(name: str, rows: int) -> None:
    problem = Problem(SPECS[name], rows)
    check(problem, problem.run(HOST))


@pytest.mark.parametrize("target", OTHERS, ids=lambda t: t.processor)
@pytest.mark.parametrize("name", ON_ALL_TARGETS)
def test_other_targets(name: str, target: CpuTarget) -> None:
    for rows in (1, 2, 3, 4, 13):
        problem = Problem(SPECS[name], rows)
        check(problem, problem.run(target))


@pytest.mark.parametrize("target", [HOST, PORTABLE], ids=["host", "portable"])
@pytest.mark.parametrize("name", ON_ALL_TARGETS)
def test_a_row_has_the_same_bits_in_any_batch(name: str, target: CpuTarget) -> None:
    problem = Problem(SPECS[name], 13)
    together = problem.run(target)[:13]
    for workers in (1, 3):
        assert np.array_equal(problem.run(target, workers=workers)[:13], together)
    for row in range(13):
        alone = Problem(SPECS[name], 1)
        alone.x[0] = problem.x[row]
        alone.weight, alone.bias = problem.weight, problem.bias
        assert np.array_equal(alone.run(target)[0], together[row])


def test_the_output_may_take_the_place_of_the_residual() -> None:
    spec = replace(SPECS["bf16-residual"], residual_start=0)
    fused = Library([FAMILY.build(spec, HOST)], HOST)
    problem = Problem(spec, 7)
    expected = problem.expected
    control = aligned(np.array([7, 0, 0, 2, *[0] * 12], np.int32))
    stream = problem.residual
    sums = scratch(spec, FAMILY.default_schedule(spec, HOST), 2)
    fused.call(spec.symbol, control, problem.x, problem.weight, stream, stream, sums)
    np.testing.assert_allclose(stream[:7, : spec.rows], expected, 1e-4, 1e-4)


@pytest.mark.parametrize(
    "schedule",
    [
        Vectors(accumulators=4, tile_rows=3, unroll=1),
        Vectors(block_tiles=1, prefetch_rows=0, depth_steps=5, unroll=3),
        Blocks(few=(2,), rows=4, panels=1, depth=16, heights=(1, 4), accumulators=4, ahead=1),
        Blocks(few=(1, 3), rows=12, panels=2, depth=48, heights=(2, 6), streams=1),
    ],
    ids=["vectors-small-tiles", "vectors-small-blocks", "blocks-small", "blocks-few"],
)
def test_bits_do_not_depend_on_the_schedule(schedule: Vectors | Blocks) -> None:
    spec = SPECS["bf16-odd"]
    problem = Problem(spec, 20)
    control = aligned(np.array([20, 0, 0, 2, *[0] * 12], np.int32))
    found = []
    for each in (type(schedule)(), schedule):
        out = poisoned(20 + EXTRA, spec.columns, dtype=np.uint16)
        arrays = (problem.x, problem.weight, problem.bias, out, scratch(spec, each, 2))
        Library([FAMILY.build(spec, VECTORS, each)], VECTORS).call(spec.symbol, control, *arrays)
        found.append(out)
    assert np.array_equal(*found)
    check(problem, found[0])


@pytest.mark.parametrize("kind", list(Element))
def test_panels_of_a_range_of_rows_are_a_range_of_the_panels(kind: Element) -> None:
    weight = np.arange(150 * 21, dtype=np.int64).reshape(150, 21).astype(kind.dtype)
    packed = pack_panels(weight)
    assert packed.shape == panel_shape(150, 21, kind.pack)
    assert np.array_equal(pack_panels(weight[64:]), packed[1:])
    for row, column in ((0, 0), (63, 20), (64, 1), (149, 13)):
        cell = packed[row // 64, column // kind.pack, row % 64, column % kind.pack]
        assert cell == weight[row, column]
    assert not packed[2, :, 22:].any()
