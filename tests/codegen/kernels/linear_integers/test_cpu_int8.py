"""The linear that rounds its input to 8 bits: exact for those integers, on every processor."""

import re
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from sala_compile.codegen.kernels.linear_integers.cpu.kernel import FAMILY
from sala_compile.codegen.kernels.linear_integers.cpu.schedule import Schedule
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.write.cpu_library import compile_functions
from sala_compile.sala_ir.reference import round_activations
from tests.codegen.kernels.linear.test_cpu import HOST, exact, stored
from tests.codegen.kernels.linear_integers.test_cpu import BF16, F32, IntegerProblem, check, spec_of
from tests.support.steps import Library, padded

V3, V1 = CpuTarget("x86-64-v3"), CpuTarget("x86-64")
OTHERS = [target for target in (CpuTarget("skylake-avx512"), V3, V1) if target.runs_here]
"""Other ways to add products of bytes: in words of 512 and of 256 bits, and in pairs."""
SMALL = Schedule(few=(2,), rows=4, panels=1, depth=64, heights=(1, 4), accumulators=4, ahead=1)
"""Every path with little code."""
ROWS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 33, 101)

SPECS = {
    "odd": spec_of(201, 70, BF16, bias=True, scale=0.3, output=BF16, x_bits=8),
    "zeros": spec_of(144, 130, BF16, group=128, stores_zeros=True, x_bits=8, residual_pitch=144),
    "int8": spec_of(300, 96, BF16, bits=8, group=128, swiglu=True, bias=True, x_bits=8),
    "view": spec_of(330, 64, F32, bits=8, group=256, stores_zeros=True, x_start=7, x_bits=8),
    "minima": spec_of(224, 70, BF16, has_minima=True, bias=True, x_bits=8),
    "q5_k": spec_of(256, 70, BF16, bits=5, has_minima=True, super_block=256, x_bits=8),
    "q6_k": spec_of(512, 66, F32, bits=6, group=16, super_block=256, x_bits=8),
}
ON_ALL_TARGETS = ("zeros", "view", "q5_k", "q6_k")


class ByteProblem(IntegerProblem):
    """The product of the integers that the reference rounds x to."""

    @property
    def inputs(self) -> np.ndarray:
        """The rounded rows."""
        return round_activations(super().inputs, group=self.spec.block)

    @property
    def lost(self) -> np.ndarray:
        """Nothing but what sums in float32 lose."""
        return 2.0**-21 * np.abs(self.inputs)

    def run_scheduled(self, target: CpuTarget, schedule: Schedule, workers: int = 2) -> np.ndarray:
        """The output buffer of a kernel with a schedule."""
        arrays = self.arrays(schedule, workers)
        library(target, schedule).call(self.spec.symbol, *arrays)
        return arrays[-len(FAMILY.workspaces(self.spec, schedule)) - 1]

    def run(self, target: CpuTarget, *, workers: int = 2, out: Any = None) -> np.ndarray:
        """The output buffer of the kernel with its default schedule."""
        assert out is None
        return self.run_scheduled(target, FAMILY.default_schedule(self.spec, target), workers)


@cache
def library(target: CpuTarget, schedule: Schedule) -> Library:
    """The kernels for a target."""
    names = SPECS if schedule != SMALL else ON_ALL_TARGETS
    return Library([FAMILY.build(SPECS[name], target, schedule) for name in names], target)


@pytest.mark.parametrize("name", SPECS)
def test_against_float64(name: str) -> None:
    for rows in ROWS:
        problem = ByteProblem(SPECS[name], rows)
        check(problem, problem.run(HOST))


@pytest.mark.parametrize("target", OTHERS, ids=lambda target: target.processor)
@pytest.mark.parametrize("name", ON_ALL_TARGETS)
def test_other_instructions_give_the_same_bits(name: str, target: CpuTarget) -> None:
    for rows in (1, 5, 13):
        problem = ByteProblem(SPECS[name], rows)
        found = problem.run_scheduled(target, SMALL)
        check(problem, found)
        if target.has_fma and HOST.has_fma:
            assert np.array_equal(found[:rows], problem.run(HOST)[:rows])


@pytest.mark.parametrize("name", SPECS)
def test_a_row_has_the_same_bits_in_any_batch(name: str) -> None:
    problem = ByteProblem(SPECS[name], 33)
    together = problem.run(HOST)[:33]
    for workers in (1, 3):
        assert np.array_equal(problem.run(HOST, workers=workers)[:33], together)
    for first, count in ((0, 1), (1, 2), (3, 5), (8, 8), (16, 17)):
        part = ByteProblem(SPECS[name], count)
        part.x[:count] = problem.x[first : first + count]
        part.parts, part.bias = problem.parts, problem.bias
        if part.residual is not None and problem.residual is not None:
            part.residual[:count] = problem.residual[first : first + count]
        assert np.array_equal(part.run(HOST)[:count], together[first : first + count])


@pytest.mark.parametrize("rows", [2, 20])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_row_that_is_not_finite_becomes_nan_and_no_other(value: float, rows: int) -> None:
    problem = ByteProblem(SPECS["zeros"], rows)
    whole = problem.run(HOST)[:rows].copy()
    problem.x[1, 140] = stored(np.array([value]), BF16)[0]
    found = problem.run(HOST)[:rows]
    assert np.isnan(found[1, : problem.spec.rows]).all()
    with np.errstate(invalid="ignore"):
        assert np.isnan(round_activations(exact(problem.x[1:2]), group=128)[0, 128:]).all()
    others = np.arange(rows) != 1
    assert np.array_equal(found[others], whole[others])


def test_rows_of_tiny_and_of_large_values() -> None:
    problem = ByteProblem(SPECS["view"], 4)
    start, depth = SPECS["view"].x_start, SPECS["view"].depth
    x = problem.x[:4, start : start + depth]
    x[0], x[1], x[2] = 0.0, 1e-40, 1e30
    x[3, ::2] *= np.float32(1e-30)
    found, expected = exact(problem.run(HOST)[:4, :64]), problem.expected
    assert (found[0] == 0).all()
    assert (np.abs(found - expected) <= problem.bound + 2.0**-20 * np.abs(expected)).all()


def test_the_output_may_take_the_place_of_the_residual() -> None:
    spec = replace(SPECS["zeros"], residual_start=0, residual_pitch=padded(130))
    problem = ByteProblem(spec, 5)
    expected, stream = problem.expected, problem.residual
    arrays = list(problem.arrays(SMALL, 2))
    arrays[-len(FAMILY.workspaces(spec, SMALL)) - 1] = stream
    Library([FAMILY.build(spec, HOST, SMALL)], HOST).call(spec.symbol, *arrays)
    assert stream is not None
    assert (np.abs(stream[:5, :130] - expected) <= problem.bound + 1e-5).all()


def test_bytes_of_avx_vnni_are_256_bits_wide() -> None:
    target, spec = CpuTarget("alderlake"), SPECS["zeros"]
    module: Any = compile_functions({spec.symbol: FAMILY.build(spec, target, SMALL)}, target)
    text = module.mod.inspect_source("asm")
    assert re.search(r"vpdpbusd\s[^\n]*%ymm", text)
    assert "zmm" not in text
    assert "vpdpbusds" not in text


def test_bytes_need_no_room_to_be_unpacked() -> None:
    names = {
        name: [space.name for space in FAMILY.workspaces(spec, SMALL)]
        for name, spec in SPECS.items()
    }
    assert names["view"] == ["sums", "x_values", "x_scales", "x_sums"]
    assert names["zeros"] == [*names["view"], "unpacked"]


def test_the_reference_rounds_to_the_nearest_of_127_steps() -> None:
    x = np.array([[127.0, 63.5, -126.5, 0.4, -0.6, 2.5, 3.5, -127.0, 5.0]])
    found = round_activations(x, group=8)
    np.testing.assert_allclose(found, [[127, 64, -126, 0, -1, 2, 4, -127, 5]], rtol=1e-6)
    random = np.random.default_rng(0).standard_normal((3, 200))
    off = np.abs(round_activations(random, group=128) - random)
    limit = np.abs(random[:, :128]).max(axis=1, keepdims=True) / 254
    assert (off[:, :128] <= limit * (1 + 1e-5)).all()
