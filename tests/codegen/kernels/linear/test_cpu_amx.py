"""The linear by AMX tiles: odd sizes, epilogues, one order for any number of rows and workers."""

from functools import cache

import numpy as np
import pytest

from sala_compile.codegen.kernels.linear.cpu.kernel import FAMILY
from sala_compile.codegen.kernels.linear.cpu.schedule import Schedule, Tiles
from sala_compile.codegen.kernels.linear.cpu.spec import Spec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets import x86
from sala_compile.codegen.targets.cpu import CpuTarget, required_instructions
from tests.codegen.kernels.linear.test_cpu import Problem, check, scratch, spec_of
from tests.support.steps import EXTRA, Library, aligned, from_bits, padded, poisoned
from tests.support.tiles import TARGETS, name_of, tile_library

AMX = {"amx_bf16", "amx_tile"}
ROWS = (0, 1, 15, 16, 17, 31, 32, 33, 47, 64, 100)
SIZES = [(10, 1), (10, 192), (32, 16), (40, 100), (48, 192), (128, 1), (4096, 100), (4096, 192)]
"""Depths that are whole tiles, less than one, or end in the first or second half of one."""
BF16 = Element.BF16
EPILOGUES = {
    "bias": {"bias": True},
    "scale": {"bias": True, "scale": 0.3, "output": BF16},
    "residual": {"scale": -1.7, "residual_pitch": 208, "residual_start": 5},
    "swiglu": {"swiglu": True, "bias": True, "output": BF16},
    "swiglu-residual": {"swiglu": True, "residual_pitch": 96},
    "view": {"x_start": 7, "extent": "logit_rows"},
}
"""On 72 x 192: the depth ends in the middle of a tile."""

everywhere = pytest.mark.parametrize("target", TARGETS, ids=name_of)


def epilogue(name: str) -> Spec:
    """The spec of an epilogue."""
    return spec_of(72, 192, BF16, **EPILOGUES[name])


def small_blocks(spec: Spec) -> Schedule:
    """Blocks and parts so small that every loop of the kernel turns several times."""
    return Tiles(rows=64, panels=2, steps=1, long_steps=3, few=1)


@cache
def sizes(target: CpuTarget) -> Library:
    """Kernels of all sizes."""
    return tile_library([FAMILY.build(spec_of(*size, BF16), target) for size in SIZES], target)


@cache
def epilogues(target: CpuTarget, small: bool) -> Library:
    """Kernels of all epilogues."""
    specs = [epilogue(name) for name in EPILOGUES]
    kernels = [FAMILY.build(spec, target, small_blocks(spec) if small else None) for spec in specs]
    return tile_library(kernels, target)


def problem_of(spec: Spec, rows: int) -> Problem:
    """A problem whose input is NaN beside the columns that the kernel may read."""
    problem = Problem(spec, rows)
    problem.x[:, : spec.x_start] = 0xFFFF
    problem.x[:, spec.x_start + spec.depth :] = 0xFFFF
    return problem


def run(
    library: Library,
    problem: Problem,
    *,
    workers: int = 2,
    schedule: Schedule | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The output buffer, poisoned beforehand."""
    spec = problem.spec
    if out is None:
        out = poisoned(problem.rows + EXTRA, spec.columns, dtype=spec.output.dtype)
    control = np.zeros(16, np.int32)
    control[0 if spec.extent == "tokens" else 2] = problem.rows
    control[3] = workers
    optional = [each for each in (problem.bias, problem.residual) if each is not None]
    sums = scratch(spec, schedule or FAMILY.default_schedule(spec, TARGETS[0]), workers)
    library.call(spec.symbol, aligned(control), problem.x, problem.weight, *optional, out, sums)
    return out


@everywhere
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sizes(target: CpuTarget, size: tuple[int, int]) -> None:
    for rows in ROWS:
        problem = problem_of(spec_of(*size, BF16), rows)
        out = run(sizes(target), problem)
        found, expected = out[:rows, : size[1]], problem.expected
        assert np.abs(found - expected).max(initial=0) <= 2e-6 * size[0]
        assert (out[:rows, size[1] :] == 0).all()
        assert np.isnan(out[rows:]).all()


@everywhere
@pytest.mark.parametrize("rows", [16, 31, 33, 100])
@pytest.mark.parametrize("name", EPILOGUES)
def test_epilogues(target: CpuTarget, name: str, rows: int) -> None:
    problem = problem_of(epilogue(name), rows)
    check(problem, run(epilogues(target, small=False), problem))


@everywhere
def test_the_order_is_that_of_the_instruction(target: CpuTarget) -> None:
    """Even and odd k apart over 32 values, then both into the sum: as Intel defines tdpbf16ps."""
    problem = problem_of(spec_of(4096, 100, BF16), 20)
    x = from_bits(problem.x[:20, :4096]).astype(np.float32)
    weight = from_bits(pack_rows(problem)).astype(np.float32)
    sums = np.zeros((20, 100), np.float32)
    for start in range(0, 4096, 32):
        parts = np.zeros((2, 20, 100), np.float32)
        for k in range(start, start + 32):
            parts[k % 2] += x[:, k, None] * weight[None, :, k]
        sums += parts[0] + parts[1]
    assert np.array_equal(run(sizes(target), problem)[:20, :100], sums)


def pack_rows(problem: Problem) -> np.ndarray:
    """The weight [N, K] as bits, from its panels."""
    panels = problem.weight.transpose(0, 2, 1, 3)
    return panels.reshape(-1, panels.shape[2] * 2)[: problem.spec.rows]


@everywhere
@pytest.mark.parametrize("name", ["scale", "swiglu-residual", "view"])
def test_bits_depend_on_nothing_but_the_row(target: CpuTarget, name: str) -> None:
    spec = epilogue(name)
    whole = problem_of(spec, 300)
    wanted = run(epilogues(target, small=False), whole)
    for rows in (1, 5, 16, 17, 64, 257):
        part = problem_of(spec, rows)
        part.x[:rows] = whole.x[300 - rows : 300]
        part.weight, part.bias = whole.weight, whole.bias
        if whole.residual is not None:
            part.residual = aligned(whole.residual[300 - rows :])
        for workers in (1, 2, 5):
            found = run(epilogues(target, small=False), part, workers=workers)
            assert np.array_equal(found[:rows], wanted[300 - rows : 300])
    for workers in (1, 3, 16):
        found = run(
            epilogues(target, small=True), whole, workers=workers, schedule=small_blocks(spec)
        )
        assert np.array_equal(found[:300], wanted[:300])


@everywhere
@pytest.mark.parametrize("rows", [3, 40])
def test_the_output_may_take_the_place_of_the_residual(target: CpuTarget, rows: int) -> None:
    spec = spec_of(128, 192, BF16, residual_pitch=192, scale=0.5)
    problem = problem_of(spec, rows)
    expected = problem.expected
    stream = problem.residual
    run(tile_library([FAMILY.build(spec, target)], target), problem, out=stream)
    assert stream is not None
    np.testing.assert_allclose(stream[:rows], expected, 1e-4, 1e-4)
    assert np.isnan(stream[rows:]).all()


def test_only_libraries_with_tiles_need_amx() -> None:
    target = CpuTarget.parse("cpu:sapphirerapids")
    masked = CpuTarget.parse("cpu:sapphirerapids+noamx")
    assert target.has_amx_bf16
    assert not masked.has_amx_bf16
    assert CpuTarget.parse(masked.name) == masked

    def needed(kind: Element, chosen: CpuTarget) -> set[str]:
        spec = spec_of(32, 64, kind, x_pitch=padded(32))
        return AMX & set(required_instructions({spec.symbol: FAMILY.build(spec, chosen)}, chosen))

    assert needed(BF16, target) == AMX
    assert not needed(Element.F32, target)
    assert not needed(BF16, masked)
    assert not needed(BF16, CpuTarget.parse("cpu:znver5"))


def test_hidden_tiles_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = x86.required_flags("sapphirerapids")
    for missing in (set(), {"amx_tile"}, AMX):
        monkeypatch.setattr(x86, "host_flags", lambda m=missing: (flags | AMX) - m)
        monkeypatch.setattr(x86, "host_processor", lambda: "sapphirerapids")
        assert CpuTarget.host().has_amx_bf16 == (not missing)
        assert CpuTarget.host().runs_here
        assert CpuTarget("sapphirerapids").runs_here == (not missing)
