"""A norm that the kernels before and behind it share, interpreted, against the reference."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sala_compile.codegen.kernels.lightning_attention.gpu import kernel as lightning
from sala_compile.codegen.kernels.linear.gpu.kernel import FAMILY
from sala_compile.codegen.kernels.linear.gpu.spec import LinearForm, Spec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.sala_ir import reference
from tests.codegen.kernels.linear.test_gpu import CODED, Problem, spec_of
from tests.support.gpu_rows import control_of
from tests.support.interpreted import run
from tests.support.lightning import LightningInputs
from tests.support.lightning import spec_of as lightning_spec
from tests.support.rows import exact
from tests.support.steps import EXTRA, aligned, padded, poisoned, step

TARGET = CudaTarget(90)
BF16, F32 = Element.BF16, Element.F32
EPS = 1e-5
WRITERS = {
    "bf16": spec_of(48, 70, BF16, form=LinearForm.ROWS, residual_pitch=padded(70)),
    "f32": spec_of(20, 33, F32, form=LinearForm.ROWS, bias=True),
    "int4": spec_of(
        300, 70, BF16, form=LinearForm.ROWS, residual_pitch=padded(70), **CODED["int4"]
    ),
}


def _random(*shape: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def _tolerance(element: Element) -> float:
    return 2e-2 if element is BF16 else 1e-4


def _write(problem: Problem, norm: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The stream, the values that wait for their factor, and the sums of squares."""
    spec = problem.spec
    schedule = FAMILY.default_schedule(spec, TARGET)
    bucket = problem.rows + EXTRA
    sums = padded(schedule.across(spec))
    buffers: dict[str, Any] = {"control": control_of(problem.rows), "x": problem.x}
    buffers |= problem.operands
    if problem.residual is not None:
        buffers["residual"] = problem.residual
    weight = aligned(np.zeros(spec.y_pitch, np.float32))
    weight[: spec.columns] = norm
    buffers["norm"] = weight
    buffers["y"] = poisoned(bucket, spec.y_pitch)
    buffers["scaled"] = poisoned(bucket, spec.y_pitch, dtype=spec.weight.dtype)
    buffers["sums"] = poisoned(bucket, sums)
    run(FAMILY.build(spec, TARGET), buffers, {"tokens": bucket})
    for name in ("y", "scaled", "sums"):
        rest = buffers[name][problem.rows :]
        assert (rest == 0xFFFF).all() if rest.dtype == np.uint16 else np.isnan(rest).all()
    return buffers["y"], buffers["scaled"], buffers["sums"]


@pytest.mark.parametrize("name", WRITERS)
def test_a_linear_writes_what_its_norm_is_made_of(name: str) -> None:
    spec = replace(WRITERS[name], scaled=True)
    problem, norm = Problem(spec, 11), _random(spec.columns)
    y, scaled, sums = _write(problem, norm)
    live = y[:11, : spec.columns]
    np.testing.assert_allclose(live, problem.expected, 1e-4, 1e-4)
    close = _tolerance(spec.weight)
    np.testing.assert_allclose(exact(scaled[:11, : spec.columns]), live * norm, close, close)
    assert (scaled[:11, spec.columns :] == 0).all()
    count = FAMILY.default_schedule(spec, TARGET).across(spec)
    np.testing.assert_allclose(sums[:11, :count].sum(1), (live**2).sum(1), 1e-5)


@pytest.mark.parametrize("name", WRITERS)
def test_the_sums_of_a_row_have_the_same_bits_in_any_batch(name: str) -> None:
    spec = replace(WRITERS[name], scaled=True)
    problem, norm = Problem(spec, 11), _random(spec.columns)
    together = _write(problem, norm)
    alone = Problem(spec, 1)
    alone.operands, alone.x[0] = problem.operands, problem.x[9]
    if alone.residual is not None and problem.residual is not None:
        alone.residual[0] = problem.residual[9]
    count = FAMILY.default_schedule(spec, TARGET).across(spec)
    for one, many in zip(_write(alone, norm), together, strict=True):
        assert np.array_equal(one[0, :count], many[9, :count])


def _read(spec: Spec, problem: Problem, squares: np.ndarray) -> np.ndarray:
    buffers: dict[str, Any] = {"control": control_of(problem.rows), "x": problem.x}
    buffers |= problem.operands
    bucket = problem.rows + EXTRA
    held = poisoned(bucket, padded(spec.squares))
    held[: problem.rows, : spec.squares] = squares
    buffers["squares"] = held
    buffers["y"] = poisoned(bucket, spec.y_pitch, dtype=spec.output.dtype)
    run(FAMILY.build(spec, TARGET), buffers, {"tokens": bucket})
    return buffers["y"][: problem.rows]


@pytest.mark.parametrize("swiglu", [False, True])
@pytest.mark.parametrize("bits", [0, 4])
def test_a_linear_multiplies_by_the_factor_of_its_row(bits: int, swiglu: bool) -> None:
    options = {"bias": True, "swiglu": swiglu, "norm": 77, "squares": 5, "eps": EPS}
    coded = CODED["int4"] if bits else {}
    spec = spec_of(256, 96, BF16, form=LinearForm.ROWS, **options, **coded)
    problem = Problem(spec, 9)
    squares = _random(9, 5) ** 2
    factor = 1 / np.sqrt(squares.sum(1) / 77 + EPS)
    x = exact(problem.x[:9, :256]) * factor[:, None]
    assert problem.bias is not None
    expected = reference.linear(
        x, problem.values, problem.bias[:96].astype(np.float64), None, scale=1.0,
        swiglu_columns=48 if swiglu else None,
    )  # fmt: skip
    found = _read(spec, problem, squares)
    cancelled = 1e-5 * np.abs(expected).max()  # as in `check` of test_gpu.py
    np.testing.assert_allclose(found[:, : spec.columns], expected, 2e-4, max(2e-4, cancelled))


@pytest.mark.parametrize("gated", [False, True])
def test_a_step_writes_what_its_norm_is_made_of(gated: bool) -> None:
    plain = replace(
        lightning_spec(lightning.Spec, 2, 1, 34, norm=True, rope=True),
        form=lightning.TokenForm.STEP,
    )
    width = plain.num_heads * plain.head_dim
    pitch = padded(width + 3)
    gate = {"gate_start": 3, "gate_pitch": pitch} if gated else {}
    spec = replace(plain, scaled=True, **gate)
    batch = step((1, 1, 1), (3, 0, 70))
    inputs = LightningInputs(spec, batch.tokens, 5)
    expected, _ = inputs.expected(batch)
    norm = aligned(np.zeros(padded(width), np.float32))
    norm[:width] = _random(width)
    logits = poisoned(batch.tokens, pitch)
    logits[:, 3 : 3 + width] = _random(batch.tokens, width, seed=9)
    schedule = lightning.Schedule(1, 1, 16, 0, warps=4)
    kernel = lightning.FAMILY.build(spec, TARGET, schedule)
    count = spec.num_heads * -(-spec.head_dim // 16)
    buffers: dict[str, Any] = {
        name: batch.field(name)
        for name in ("control", "offsets", "history", "slots", "checkpoints")
    }
    buffers |= {name: inputs.merged for name in "qkv"}
    buffers |= {"state": inputs.state, "q_norm": inputs.norms[0], "k_norm": inputs.norms[1]}
    buffers |= {"rope": inputs.rope, "norm": norm}
    if gated:
        buffers["gate"] = logits
    buffers["out"] = poisoned(batch.tokens, padded(width))
    buffers["sums"] = poisoned(batch.tokens, padded(count))
    run(kernel, buffers, {"tokens": batch.tokens, "sequences": 3})
    values = expected * norm[:width]
    if gated:
        values = values / (1 + np.exp(-logits[:, 3 : 3 + width].astype(np.float64)))
    np.testing.assert_allclose(buffers["out"][:, :width], values, 1e-4, 1e-5)
    squares = buffers["sums"][:, :count].sum(1)
    np.testing.assert_allclose(squares, (expected**2).sum(1), 1e-5)
