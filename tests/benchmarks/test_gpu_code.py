"""The released model's GPU kernels: launches of a token, spills and serialised products."""

import re
from functools import cache
from pathlib import Path

import pytest

from benchmarks.gpu.released import Call, calls_of, lowered
from sala_compile.codegen.gpu_code.cubin import Cubin, compile_source, source_of
from sala_compile.codegen.kernels.triton.kernel import Slabs
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.quantization import Quantization

TARGET = CudaTarget(90)
RECORD = Path(__file__).parents[2] / "benchmarks" / "results" / "2026-11-30-gpu-bounds.md"
"""The time model's tables of the released model, every kernel on three GPUs."""
ROW = re.compile(r"\| (\w+) (\w+) \|.*\| ([\d.]+) % \| (.*) \|$")
LEAST = 2.0
"""Per cent of a step from which a kernel is large."""


def large() -> dict[tuple[str, str], str]:
    """Phase and function -> the kernel, without the digest of its symbol, that takes most.

    Of those that take more than LEAST of a step of the H200; notes are spills and warnings.
    """
    found: dict[tuple[str, str], tuple[float, str]] = {}
    for section in RECORD.read_text().split("\n## ")[1:]:
        title, *lines = section.splitlines()
        card, phase, _, weights = title.split(", ")
        asked = (card, weights) == ("H200", Quantization.INT4_G128.value)
        rows = [ROW.match(line) for line in lines] if asked else []
        for function, kernel, share, notes in (row.groups() for row in rows if row):
            if float(share) > LEAST:
                assert not notes.strip(), f"{function} of {kernel}: {notes}"
                key = phase, function
                found[key] = max(found.get(key, (0.0, "")), (float(share), kernel))
    return {key: kernel for key, (_, kernel) in found.items()}


LARGE = large()
"""Functions that take more than 2 % of a step by the model, one launch of each."""


@cache
def calls(phase: str, quantization: Quantization) -> list[Call]:
    """The calls of a phase of the released model."""
    return calls_of(lowered(TARGET, quantization, Precision.BFLOAT16), phase)


@pytest.mark.parametrize("quantization", [Quantization.NONE, Quantization.INT4_G128])
def test_a_decoded_token_has_at_most_250_launches(quantization: Quantization) -> None:
    found = calls("decode", quantization)
    launches = sum(call.times * len(list(call.kernel.each_launch())) for call in found)
    assert launches <= 250


def compiled(phase: str, name: str, symbol: str, target: CudaTarget) -> Cubin:
    """A launch of a kernel of the released model in int4."""
    for call in calls(phase, Quantization.INT4_G128):
        for step in call.kernel.launches:
            slab = step.size if isinstance(step, Slabs) else 0
            for launch in step.launches if isinstance(step, Slabs) else (step,):
                if launch.function.__name__ == name and call.kernel.symbol.startswith(symbol):
                    return compile_source(source_of(launch, call.kernel, slab), target, name)
    raise AssertionError(f"no {symbol} of {phase} launches {name}")


@pytest.mark.parametrize(("phase", "name"), LARGE)
def test_large_kernels_neither_spill_nor_serialise_products(phase: str, name: str) -> None:
    cubin = compiled(phase, name, LARGE[phase, name], TARGET)
    assert not cubin.spill_bytes
    assert not [text for text in cubin.warnings if text.startswith("C75")]


def test_the_record_names_the_large_kernels() -> None:
    assert {("decode", "multiply_rows_by_integers"), ("prefill", "multiply_tiles")} <= set(LARGE)
    assert {("prefill", "attend_union"), ("prefill", "score_blocks")} <= set(LARGE)
    assert len(LARGE) >= 8


def test_products_of_registers_do_not_spill_for_loads_ahead() -> None:
    """With two stages the tile of a union spilled 12 bytes on sm_80."""
    target = CudaTarget(80)
    model = lowered(target, Quantization.INT4_G128, Precision.BFLOAT16)
    (kernel,) = (c.kernel for c in calls_of(model, "prefill") if c.family == "attend_blocks")
    (union,) = (x for x in kernel.each_launch() if x.function.__name__ == "attend_union")
    assert not compile_source(source_of(union, kernel), target, "union").spill_bytes


def test_a_launch_does_not_spill_for_blocks_that_shared_memory_has_no_room_for() -> None:
    """The assembler took 48 registers and spilled, though two blocks fit at most."""
    (kernel,) = (
        call.kernel
        for call in calls("decode", Quantization.NONE)
        if call.kernel.symbol.startswith("linear_4096x4096_bf16_rows_residual_scaled_")
    )
    (launch,) = kernel.each_launch()
    assert not compile_source(source_of(launch, kernel), TARGET, "rows").spill_bytes
