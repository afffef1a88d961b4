"""The released model's GPU kernels: launches of a token, spills and serialised products."""

from functools import cache

import pytest

from benchmarks.gpu.released import Call, calls_of, lowered
from sala_compile.codegen.gpu_code.cubin import compile_source, source_of
from sala_compile.codegen.kernels.triton.kernel import Slabs
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.quantization import Quantization

TARGET = CudaTarget(90)
LARGE = (
    ("decode", "multiply_rows_by_integers"),
    ("decode", "list_blocks"),
    ("prefill", "attend_union"),
    ("prefill", "score_blocks"),
    ("prefill", "sum_coarse"),
)
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


@pytest.mark.parametrize(("phase", "name"), LARGE)
def test_large_kernels_neither_spill_nor_serialise_products(phase: str, name: str) -> None:
    for call in calls(phase, Quantization.INT4_G128):
        for step in call.kernel.launches:
            slab = step.size if isinstance(step, Slabs) else 0
            for launch in step.launches if isinstance(step, Slabs) else (step,):
                if launch.function.__name__ == name:
                    cubin = compile_source(source_of(launch, call.kernel, slab), TARGET, name)
                    assert not cubin.spill_bytes
                    assert not [text for text in cubin.warnings if text.startswith("C75")]
                    return
    raise AssertionError(f"no kernel of {phase} launches {name}")
