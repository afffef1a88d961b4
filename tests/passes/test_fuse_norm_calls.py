"""Norms of a decoded token on a GPU stand in the calls around them."""

from collections import Counter
from typing import Any

import pytest

from sala_compile.codegen.kernels.select import selector_for
from sala_compile.codegen.lowering import splitter_for
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.pipeline import run_pipeline, sala_pipeline
from sala_compile.passes.support.callbacks import verify_each
from sala_compile.passes.support.functions import find_function
from sala_compile.passes.support.quantization import Quantization
from sala_compile.sala_ir.dialect import KernelCallOp, plain
from tests.passes.test_pipeline import captured
from tests.support.checkpoints import tiny_config


def calls(target: Any, phase: str, quantization: Quantization) -> list[KernelCallOp]:
    """The calls of a phase of a small model."""
    passes = sala_pipeline(
        Precision.BFLOAT16,
        selector_for(target),
        quantization,
        splitter=splitter_for(target),
    )
    module = captured(tiny_config())
    run_pipeline(module, passes, [verify_each])
    func = find_function(module, phase)
    assert func is not None
    return [op for op in func.walk() if isinstance(op, KernelCallOp)]


@pytest.mark.parametrize("quantization", [Quantization.NONE, Quantization.INT4_G32])
def test_only_the_first_norm_of_a_decoded_token_is_a_call(quantization: Quantization) -> None:
    decode = calls(CudaTarget(90), "decode", quantization)
    families = Counter(call.family.data for call in decode)
    assert families["rms_norm"] == 1
    linears = [plain(call.spec) for call in decode if call.family.data == "linear"]
    readers = [spec for spec in linears if spec["norm"]]
    writers = [spec for spec in linears if spec["scaled"]]
    assert len(writers) == 5  # two in each of three layers, but for the last
    assert {spec["norm"] for spec in readers} == {64}
    assert any(spec["norm"] and spec["scaled"] for spec in linears)
    (step,) = [call for call in decode if call.family.data == "lightning_attention"]
    assert plain(step.spec)["scaled"]
    names = [call.family.data for call in decode]
    assert names.index("lightning_attention") > names.index("linear")


def test_sums_reach_those_who_read_them() -> None:
    for call in calls(CudaTarget(90), "decode", Quantization.NONE):
        if call.family.data == "linear" and plain(call.spec)["norm"]:
            squares = call.inputs[2 + bool(plain(call.spec)["residual_pitch"])]
            writer = squares.owner
            assert isinstance(writer, KernelCallOp)
            assert plain(writer.spec)["scaled"]
            assert squares is writer.results[-1]
            assert squares.type.get_shape()[1] == plain(call.spec)["squares"]  # type: ignore


@pytest.mark.parametrize("phase", ["prefill", "logits"])
def test_other_phases_keep_their_norms(phase: str) -> None:
    families = Counter(c.family.data for c in calls(CudaTarget(90), phase, Quantization.NONE))
    assert families["rms_norm"] == (7 if phase == "prefill" else 1)


def test_a_cpu_keeps_its_norms() -> None:
    target = CpuTarget.parse("cpu:x86-64-v3")
    families = Counter(c.family.data for c in calls(target, "decode", Quantization.NONE))
    assert families["rms_norm"] == 7
