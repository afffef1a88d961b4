"""The released model's GPU kernels: time beside the floor, launches, spills, serial products."""

import re
from functools import cache
from pathlib import Path

import pytest

from benchmarks.gpu.bounds import CARDS
from benchmarks.gpu.launch_bounds import Predicted, predicted
from benchmarks.gpu.released import Call, calls_of, lowered
from benchmarks.gpu.sizes import Sizes
from benchmarks.gpu.step_bounds import CHUNK, Step, step_of
from benchmarks.gpu.work import Case
from sala_compile.codegen.gpu_code.cubin import compile_source, source_of
from sala_compile.codegen.lowering import Lowered
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.quantization import Quantization

TARGET = CudaTarget(90)
RECORD = Path(__file__).parents[2] / "benchmarks" / "results" / "2026-11-30-gpu-bounds.md"
"""The time model's tables of the released model, every kernel on three GPUs."""
ROW = re.compile(r"\| (\w+) (\w+) \|.*\| (\d+), (\d+), (\d+) \| (\d+) \|.*\| ([\d.]+) % \|.*\|$")
TOTALS = re.compile(r"floor [\d.]+ ms, model [\d.]+ ms, ratio ([\d.]+), launches (\d+)")
CONTEXT = 1 << 20
LARGE = 0.02
"""Share of a step from which a kernel is large."""
MOST = {"decode": 1.5, "prefill": 1.4}
"""What a step in int4 may take of its floor."""


@cache
def model(architecture: int, quantization: Quantization = Quantization.INT4_G128) -> Lowered:
    """The released model."""
    return lowered(CudaTarget(architecture), quantization, Precision.BFLOAT16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the code of this file's tests is."""
    return tmp_path_factory.mktemp("code")


_steps: dict[str, Step] = {}


def step(phase: str, folder: Path) -> Step:
    """A step of an H200 at 1 Mi tokens."""
    if phase not in _steps:
        _steps[phase] = step_of(model(90), phase, CONTEXT, CARDS["H200"], folder)
    return _steps[phase]


@pytest.mark.parametrize("phase", MOST)
def test_a_step_of_an_h200_is_near_its_floor(phase: str, folder: Path) -> None:
    found = step(phase, folder)
    assert found.ratio <= MOST[phase]
    (ratio,) = (ratio for card, at, ratio, _ in totals() if (card, *at) == ("H200", phase, "1024K"))
    assert found.ratio == pytest.approx(ratio, abs=0.006), "the record is of other code"


@pytest.mark.parametrize("phase", MOST)
def test_large_kernels_neither_spill_nor_serialise_products(phase: str, folder: Path) -> None:
    rows = step(phase, folder).rows
    least = LARGE * sum(row.times * row.seconds for row in rows)
    large = {row.name for row in rows if row.times * row.seconds > least}
    known = {"decode": {"multiply_rows_by_integers"}, "prefill": {"multiply_tiles", "score_blocks"}}
    assert known[phase] <= large
    for row in rows:
        assert not row.cubin.spill_bytes, row.name
        warned = [text for text in row.cubin.warnings if text.startswith("C75")]
        assert not warned or row.name not in large, row.name


@pytest.mark.parametrize("quantization", [Quantization.NONE, Quantization.INT4_G128])
def test_a_decoded_token_has_at_most_250_launches(quantization: Quantization) -> None:
    found = calls_of(model(90, quantization), "decode")
    launches = sum(call.times * len(list(call.kernel.each_launch())) for call in found)
    assert launches <= 250


def sections() -> list[tuple[str, tuple[str, str], list[str]]]:
    """Card, phase and context, and lines of the record's tables in int4."""
    found = []
    for section in RECORD.read_text().split("\n## ")[1:]:
        title, *lines = section.splitlines()
        card, phase, context, weights = title.split(", ")
        if weights == Quantization.INT4_G128.value:
            found.append((card, (phase, context), lines))
    return found


def totals() -> list[tuple[str, tuple[str, str], float, int]]:
    """Card, phase and context, ratio and launches."""
    lines = [(card, at, TOTALS.match(line)) for card, at, each in sections() for line in each]
    return [(card, at, float(m[1]), int(m[2])) for card, at, m in lines if m]


@pytest.mark.parametrize("card", CARDS)
def test_the_record_of_each_gpu_is_near_its_floors(card: str) -> None:
    found = {at: (ratio, launches) for name, at, ratio, launches in totals() if name == card}
    assert {("decode", "64K"), ("decode", "1024K"), ("prefill", "1024K")} <= set(found)
    for (phase, context), (ratio, launches) in found.items():
        if phase == "decode" or context == "1024K":
            assert ratio <= MOST[phase]
        assert phase == "prefill" or launches <= 250


@pytest.mark.parametrize("phase", MOST)
@pytest.mark.parametrize("card", ["RTX 4090", "RTX 5090"])
def test_the_record_of_other_gpus_is_of_this_code(card: str, phase: str, folder: Path) -> None:
    """Of the launch that takes most; the H200's record is held to whole steps."""
    (lines,) = (each for name, at, each in sections() if (name, at) == (card, (phase, "1024K")))
    rows = [match for match in map(ROW.match, lines) if match]
    name, kernel, *numbers = max(rows, key=lambda row: float(row[7])).groups()[:6]
    found = [row for row in recounted(card, phase, kernel, folder) if row.name == name]
    assert [
        [row.cubin.registers, row.cubin.shared_bytes >> 10, row.resident, round(row.counts.issue)]
        for row in found
    ] == [list(map(int, numbers))]


def recounted(card: str, phase: str, kernel: str, folder: Path) -> list[Predicted]:
    """The launches of one kernel of a step, named without the digest of its symbol."""
    sizes, rates = Sizes.released(), CARDS[card]
    tokens, context = (1, CONTEXT) if phase == "decode" else (CHUNK, CONTEXT // 2)
    calls: list[Call] = calls_of(model(rates.architecture), phase)
    (call,) = (each for each in calls if each.kernel.symbol.rpartition("_")[0] == kernel)
    case = Case(tokens, context, sizes.block, sizes.budget)
    return predicted([call], case, rates, folder)


def test_products_of_registers_do_not_spill_for_loads_ahead() -> None:
    """With two stages the tile of a union spilled 12 bytes on sm_80."""
    target = CudaTarget(80)
    (kernel,) = (c.kernel for c in calls_of(model(80), "prefill") if c.family == "attend_blocks")
    (union,) = (x for x in kernel.each_launch() if x.function.__name__ == "attend_union")
    assert not compile_source(source_of(union, kernel), target, "union").spill_bytes


def test_a_launch_does_not_spill_for_blocks_that_shared_memory_has_no_room_for() -> None:
    """The assembler took 48 registers and spilled, though two blocks fit at most."""
    (kernel,) = (
        call.kernel
        for call in calls_of(model(90, Quantization.NONE), "decode")
        if call.kernel.symbol.startswith("linear_4096x4096_bf16_rows_residual_scaled_")
    )
    (launch,) = kernel.each_launch()
    assert not compile_source(source_of(launch, kernel), TARGET, "rows").spill_bytes
