"""The linear for integer weights against the exact product, and its bits over rows and threads."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from sala_compile.codegen.kernels.linear_integers.cpu.kernel import FAMILY
from sala_compile.codegen.kernels.linear_integers.cpu.schedule import Schedule
from sala_compile.codegen.kernels.linear_integers.cpu.spec import Spec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.write.cpu_library import compile_functions
from sala_compile.sala_ir.checkpoint.integers import Integers
from tests.codegen.kernels.linear.test_cpu import HOST, Problem, exact, stored
from tests.support.integers import panel_parts, random_integers
from tests.support.steps import EXTRA, Library, aligned, padded, poisoned

OTHERS = [CpuTarget("x86-64-v3"), CpuTarget("x86-64")]
AVX_VNNI = CpuTarget("alderlake")
COMPILED_ONLY = ["sapphirerapids", "znver5", "icelake-server"]
BF16, F32 = Element.BF16, Element.F32
ROWS = (0, 1, 2, 3, 5, 8, 9, 13, 20, 33, 101)


def spec_of(depth: int, rows: int, weight: Element, **options: Any) -> Spec:
    """A spec without epilogue unless `options` say otherwise."""
    values: dict[str, Any] = {
        "output": Element.F32,
        "scale": 1.0,
        "bias": False,
        "swiglu": False,
        "extent": "tokens",
        "x_start": 0,
        "x_pitch": padded(depth + options.get("x_start", 0)),
        "group": 32,
    }
    return Spec(depth=depth, rows=rows, weight=weight, **(values | options))


SPECS = {
    "one": spec_of(10, 1, BF16),
    "odd": spec_of(249, 70, BF16, bias=True, scale=0.3, output=BF16),
    "zeros": spec_of(144, 130, BF16, group=128, stores_zeros=True),
    "int8": spec_of(300, 96, BF16, bits=8, group=128, swiglu=True, bias=True, output=BF16),
    "residual": spec_of(64, 150, F32, scale=-1.7, residual_start=14, residual_pitch=164),
    "view": spec_of(330, 64, F32, bits=8, group=256, stores_zeros=True, x_start=7),
    "minima": spec_of(224, 70, BF16, has_minima=True, bias=True),
    "q4_k": spec_of(
        512, 96, BF16, has_minima=True, super_block=256, swiglu=True, bias=True, output=BF16
    ),
    "q5_k": spec_of(256, 150, F32, bits=5, has_minima=True, super_block=256, scale=-1.7),
    "q5_0": spec_of(208, 66, BF16, bits=5, residual_start=14, residual_pitch=80),
    "q6_k": spec_of(256, 130, BF16, bits=6, group=16, super_block=256, x_start=5),
    "q6_k-wide": spec_of(512, 64, F32, bits=6, group=16, super_block=256),
}
ON_ALL_TARGETS = ("odd", "residual", "q5_k", "q6_k")


@cache
def library(target: CpuTarget) -> Library:
    """The kernels for a target."""
    names = SPECS if target == HOST else ["q6_k"] if target == AVX_VNNI else ON_ALL_TARGETS
    return Library([FAMILY.build(SPECS[name], target) for name in names], target)


def replace_codes(integers: Integers, code: int) -> Integers:
    """The same groups, with one code everywhere."""
    _, *rest = integers.arrays
    return Integers(np.full_like(integers.codes, code), *rest)


class IntegerProblem(Problem):
    """Random operands of a spec for some rows, the weight as integers."""

    def __init__(self, spec: Spec, rows: int, seed: int = 0):
        super().__init__(spec, rows, seed)
        random = np.random.default_rng(seed)
        scales = np.exp(random.standard_normal((rows, spec.x_pitch // 16)) * 3).repeat(16, axis=1)
        self.x[:rows] = stored(random.standard_normal((rows, spec.x_pitch)) * scales, spec.weight)
        integers = random_integers(spec, spec.rows, spec.depth, seed)
        self._rows = integers.values(spec.depth).astype(np.float64)
        self.parts = panel_parts(integers, spec.bits, zeros=spec.stores_zeros)
        # What the product of x and the codes is before minima are added to it.
        self._steps = np.abs(self._rows)
        if spec.has_minima:
            least = replace_codes(integers, 0).values(spec.depth)
            self._steps = np.abs(self._rows - least) + np.abs(least)

    @property
    def lost(self) -> np.ndarray:
        """How far the rounding of x and of float32 sums may take each product."""
        spec, x = self.spec, self.inputs
        missing = -spec.depth % spec.block
        blocks = np.pad(np.abs(x), [(0, 0), (0, missing)]).reshape(self.rows, -1, spec.block)
        largest = blocks.max(axis=2, initial=0).repeat(spec.block, axis=1)[:, : spec.depth]
        step = {BF16: 2.0**-16, F32: 2.0**-30}[spec.weight]
        return step * largest + 2.0**-20 * np.abs(x)

    @property
    def bound(self) -> np.ndarray:
        """How far that may take the result."""
        spec, x = self.spec, self.inputs
        bound = self.lost @ self._steps.T
        if spec.swiglu:
            y = (x @ self._rows.T + self.bias[: spec.rows]).reshape(self.rows, -1, 2, 16)
            off = bound.reshape(self.rows, -1, 2, 16)
            both = off[:, :, 0] * np.abs(y[:, :, 1]) * 1.1 + off[:, :, 1] * np.abs(y[:, :, 0])
            bound = (both + off[:, :, 0] * off[:, :, 1]).reshape(self.rows, -1)
        return bound * abs(spec.scale)

    def arrays(self, schedule: Schedule, workers: int) -> tuple[np.ndarray, ...]:
        """The arguments of the kernel; the output and the workspaces are poisoned."""
        control = np.zeros(16, np.int32)
        control[0], control[3] = self.rows, workers
        optional = [each for each in (self.bias, self.residual) if each is not None]
        out = poisoned(self.rows + EXTRA, self.spec.columns, dtype=self.spec.output.dtype)
        spaces = FAMILY.workspaces(self.spec, schedule)
        scratch = [poisoned(workers, space.elements, dtype=space.dtype) for space in spaces]
        return aligned(control), self.x, *self.parts, *optional, out, *scratch

    def run(self, target: CpuTarget, *, workers: int = 2, out: Any = None) -> np.ndarray:
        """The output buffer, poisoned beforehand."""
        assert out is None
        arrays = self.arrays(FAMILY.default_schedule(self.spec, target), workers)
        library(target).call(self.spec.symbol, *arrays)
        return arrays[
            -len(FAMILY.workspaces(self.spec, FAMILY.default_schedule(self.spec, target))) - 1
        ]


def check(problem: IntegerProblem, out: np.ndarray) -> None:
    """Live rows are off by their bound at most, padding is 0, the other rows are still poisoned."""
    spec, live = problem.spec, out[: problem.rows]
    columns = spec.rows // 2 if spec.swiglu else spec.rows
    expected = problem.expected
    relative = 2.0**-8 if spec.output is BF16 else 2.0**-20
    if problem.rows:
        error = np.abs(exact(live[:, :columns]) - expected)
        assert (error <= problem.bound + relative * np.abs(expected)).all()
    if problem.residual is None:
        assert (live[:, columns:] == 0).all()
    rest = out[problem.rows :]
    assert (rest == 0xFFFF).all() if out.dtype == np.uint16 else np.isnan(rest).all()


@pytest.mark.parametrize("name", SPECS)
def test_against_numpy(name: str) -> None:
    for rows in ROWS:
        problem = IntegerProblem(SPECS[name], rows)
        check(problem, problem.run(HOST))


@pytest.mark.parametrize("target", OTHERS, ids=lambda target: target.processor)
@pytest.mark.parametrize("name", ON_ALL_TARGETS)
def test_other_targets(name: str, target: CpuTarget) -> None:
    for rows in (1, 4, 5, 13):
        problem = IntegerProblem(SPECS[name], rows)
        check(problem, problem.run(target))


@pytest.mark.skipif(not AVX_VNNI.runs_here, reason="this processor has no AVX-VNNI")
def test_bytes_of_few_rows_256_bits_wide() -> None:
    assert FAMILY.default_schedule(SPECS["q6_k"], AVX_VNNI).splits
    for rows in (1, 3, 4, 5):
        problem = IntegerProblem(SPECS["q6_k"], rows)
        check(problem, problem.run(AVX_VNNI))


@pytest.mark.parametrize("name", ["odd", "zeros", "int8", "view", "q4_k", "q5_k", "q6_k"])
def test_a_row_has_the_same_bits_in_any_batch(name: str) -> None:
    problem = IntegerProblem(SPECS[name], 33)
    together = problem.run(HOST)[:33]
    for workers in (1, 3):
        assert np.array_equal(problem.run(HOST, workers=workers)[:33], together)
    for first, count in ((0, 1), (1, 2), (3, 5), (8, 8), (16, 17)):
        part = IntegerProblem(SPECS[name], count)
        part.x[:count] = problem.x[first : first + count]
        part.parts, part.bias = problem.parts, problem.bias
        assert np.array_equal(part.run(HOST)[:count], together[first : first + count])


def test_bits_do_not_depend_on_the_schedule() -> None:
    """Not on the tiles, and not on whether few rows are pairs or bytes."""
    spec = SPECS["zeros"]
    schedule = Schedule(
        few=(2,), rows=4, panels=1, depth=1, heights=(1, 4), accumulators=4, ahead=1, splits=False
    )
    pairs = Library([FAMILY.build(spec, HOST, schedule)], HOST)
    for rows in (1, 2, 20):
        problem = IntegerProblem(spec, rows)
        arrays = problem.arrays(schedule, 2)
        pairs.call(spec.symbol, *arrays)
        assert np.array_equal(arrays[-5][:rows], problem.run(HOST)[:rows])


@pytest.mark.parametrize("rows", [2, 20])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_row_that_is_not_finite_becomes_nan_and_no_other(value: float, rows: int) -> None:
    problem = IntegerProblem(SPECS["zeros"], rows)
    whole = problem.run(HOST)[:rows].copy()
    problem.x[1, 140] = stored(np.array([value]), BF16)[0]
    found = problem.run(HOST)[:rows]
    assert np.isnan(found[1, : problem.spec.rows]).all()
    others = np.arange(rows) != 1
    assert np.array_equal(found[others], whole[others])


def test_the_output_may_take_the_place_of_the_residual() -> None:
    spec = replace(SPECS["residual"], residual_start=0, residual_pitch=padded(150))
    problem = IntegerProblem(spec, 5)
    expected, stream = problem.expected, problem.residual
    schedule = FAMILY.default_schedule(spec, HOST)
    arrays = list(problem.arrays(schedule, 2))
    arrays[-len(FAMILY.workspaces(spec, schedule)) - 1] = stream
    Library([FAMILY.build(spec, HOST)], HOST).call(spec.symbol, *arrays)
    np.testing.assert_allclose(stream[:5, :150], expected, 1e-5, 1e-4)


@pytest.mark.parametrize("processor", COMPILED_ONLY)
def test_compiles_for_other_processors(processor: str) -> None:
    target = CpuTarget(processor)
    spec = SPECS["one"]
    module: Any = compile_functions({spec.symbol: FAMILY.build(spec, target)}, target)
    text = module.mod.inspect_source("asm")
    assert "vpdpwssd" in text
    assert "vpdpbusd" in text
