"""The released model's GPU kernels: time beside the floor, launches, spills, serial products.

The ratios are those of the record; that it is of today's code is shown by the launches that take
most of a step, which are compiled and counted again.
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks.gpu.cards import CARDS
from benchmarks.gpu.launch_bounds import Predicted, predicted
from benchmarks.gpu.released import calls_of, lowered
from benchmarks.gpu.sizes import Sizes
from benchmarks.gpu.step_bounds import CHUNK
from benchmarks.gpu.work import Case
from sala_compile.codegen.gpu_code.cubin import compile_source, source_of
from sala_compile.codegen.lowering import Lowered
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.quantization import Quantization

TARGET = CudaTarget(90)
RECORD = Path(__file__).parents[2] / "benchmarks" / "results" / "2026-11-30-gpu-bounds.md"
"""The time model's tables of the released model, every kernel on three GPUs."""
ROW = re.compile(
    r"\| (\w+) (\w+) \|.*\| (\d+), (\d+), (\d+) \| (\d+) \|.*\| ([\d.]+) \| ([\d.]+) % \| (.*) \|$"
)
TOTALS = re.compile(r"floor [\d.]+ ms, model [\d.]+ ms, ratio ([\d.]+), launches (\d+)")
CONTEXT = 1 << 20
LEAST = 2.0
"""Per cent of a step from which a kernel is large."""
MOST = {"decode": 1.5, "prefill": 1.4}
"""What a step in int4 may take of its floor."""


class Row(NamedTuple):
    """A launch of the record: its kernel without the digest of the symbol, and what it counts."""

    function: str
    kernel: str
    counts: tuple[int, ...]
    """Registers, KiB of shared memory, blocks on a multiprocessor, instructions of a warp."""
    microseconds: float
    share: float
    notes: str


class Section(NamedTuple):
    """A step of the record, in int4."""

    card: str
    phase: str
    context: str
    rows: list[Row]
    ratio: float
    launches: int


def sections() -> list[Section]:
    """Those of the record."""
    found: list[Section] = []
    for section in RECORD.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, *lines = section.splitlines()
        card, phase, context, weights = title.split(", ")
        if weights != Quantization.INT4_G128.value:
            continue
        rows = [
            Row(name, kernel, tuple(map(int, counts)), float(us), float(share), notes.strip())
            for line in lines
            for name, kernel, *counts, us, share, notes in ROW.findall(line)
        ]
        (total,) = TOTALS.findall(section)
        found.append(Section(card, phase, context, rows, float(total[0]), int(total[1])))
    return found


SECTIONS = sections()


def large() -> list[tuple[str, str, Row]]:
    """Card, phase and row: of each function the launch that takes most of a step at 1 Mi.

    On an H200 of all functions that take more than LEAST, on the others of the one that takes most.
    """
    found: list[tuple[str, str, Row]] = []
    for section in SECTIONS:
        if section.context == "1024K":
            best: dict[str, Row] = {}
            for row in sorted(section.rows, key=lambda row: row.share):
                best[row.function] = row
            ordered = sorted(best.values(), key=lambda row: -row.share)
            taken = [row for row in ordered if row.share > LEAST]
            chosen = taken if section.card == "H200" else taken[:1]
            found += [(section.card, section.phase, row) for row in chosen]
    return found


LARGE = large()


def test_the_record_has_every_gpu_and_names_the_large_kernels() -> None:
    steps = [(phase, at) for phase in MOST for at in ("64K", "1024K")]
    assert [section[:3] for section in SECTIONS] == [
        (card, *step) for card in CARDS for step in steps
    ]
    assert all(len(section.rows) > 20 for section in SECTIONS)
    names = {(phase, row.function) for card, phase, row in LARGE if card == "H200"}
    assert {("decode", "multiply_rows_by_integers"), ("prefill", "multiply_tiles")} <= names
    assert {("prefill", "attend_union"), ("prefill", "score_blocks")} <= names


@pytest.mark.parametrize("section", SECTIONS, ids=lambda s: "-".join(s[:3]))
def test_a_step_is_near_its_floor(section: Section) -> None:
    if section.phase == "decode" or section.context == "1024K":
        assert section.ratio <= MOST[section.phase]
    assert section.phase == "prefill" or section.launches <= 250
    warned = [row for row in section.rows if row.notes]
    assert not warned, "spills, or what the assembler warned of"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the code of this file's tests is."""
    return tmp_path_factory.mktemp("code")


@cache
def model(architecture: int, quantization: Quantization = Quantization.INT4_G128) -> Lowered:
    """The released model."""
    return lowered(CudaTarget(architecture), quantization, Precision.BFLOAT16)


@pytest.mark.parametrize(
    ("card", "phase", "row"), LARGE, ids=[f"{c}-{p}-{row.function}" for c, p, row in LARGE]
)
def test_the_record_is_of_this_code(card: str, phase: str, row: Row, folder: Path) -> None:
    """Neither does it spill, nor does the assembler serialise its products."""
    found = [
        each for each in recounted(card, phase, row.kernel, folder) if each.name == row.function
    ]
    counts = {
        (c.cubin.registers, c.cubin.shared_bytes >> 10, c.resident, round(c.counts.issue))
        for c in found
    }
    assert counts == {row.counts}, f"write {RECORD.name} anew: its command is in it"
    assert any(1e6 * each.seconds == pytest.approx(row.microseconds, abs=0.06) for each in found)
    for each in found:
        assert not each.cubin.spill_bytes
        assert not [text for text in each.cubin.warnings if text.startswith("C75")]


def recounted(card: str, phase: str, kernel: str, folder: Path) -> list[Predicted]:
    """The launches of one kernel of a step at 1 Mi."""
    sizes, rates = Sizes.released(), CARDS[card]
    tokens, context = (1, CONTEXT) if phase == "decode" else (CHUNK, CONTEXT // 2)
    calls = calls_of(model(rates.architecture), phase)
    calls = [each for each in calls if each.kernel.symbol.rpartition("_")[0] == kernel]
    case = Case(tokens, context, sizes.block, sizes.budget)
    return predicted(calls, case, rates, folder)


@pytest.mark.parametrize("quantization", [Quantization.NONE, Quantization.INT4_G128])
def test_a_decoded_token_has_at_most_250_launches(quantization: Quantization) -> None:
    found = calls_of(model(90, quantization), "decode")
    launches = sum(call.times * len(list(call.kernel.each_launch())) for call in found)
    assert launches <= 250


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
