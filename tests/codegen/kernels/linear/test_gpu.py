"""The linear kernels of a GPU, interpreted, against the reference in float64."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sala_compile.codegen.kernels.linear.gpu.kernel import FAMILY
from sala_compile.codegen.kernels.linear.gpu.spec import LinearForm, Schedule, Spec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.integer_blocks import IntegerBlocks
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.sala_ir import reference
from tests.support.gpu_rows import control_of
from tests.support.integers import random_integers
from tests.support.interpreted import run
from tests.support.rows import exact, stored
from tests.support.steps import EXTRA, aligned, padded, poisoned

TARGET = CudaTarget(90)
BF16, F32 = Element.BF16, Element.F32
TILES = Schedule(32, 32, 32, warps=4, stages=2, band=2, expanded=1)
WHOLE = Schedule(16, 64, 32, warps=1, stages=2)
PARTS = Schedule(8, 32, 32, warps=4, stages=2)


def spec_of(depth: int, rows: int, weight: Element, **options: Any) -> Spec:
    """A spec without epilogue unless `options` say otherwise."""
    given = {
        "output": F32,
        "scale": 1.0,
        "bias": False,
        "swiglu": False,
        "extent": "tokens",
        "form": LinearForm.TILES,
        "x_start": 0,
        "x_pitch": padded(depth + options.get("x_start", 0)),
    }
    return Spec(depth=depth, rows=rows, weight=weight, **(given | options))


RESIDUAL = {"residual_pitch": padded(84), "residual_start": 14, "scale": -1.7}
PLAIN = {
    "odd": spec_of(33, 70, BF16, bias=True, scale=0.3, output=BF16),
    "even": spec_of(64, 64, BF16),
    "residual": spec_of(48, 70, F32, **RESIDUAL),
    "swiglu": spec_of(80, 2 * 48, BF16, swiglu=True, bias=True, output=BF16),
    "view": spec_of(34, 33, F32, x_start=7, extent="logit_rows"),
}
CODED = {
    "int4": {"bits": 4, "group": 128},
    "int4-g32-zeros": {"bits": 4, "group": 32, "zeros": True},
    "int8-zeros": {"bits": 8, "group": 64, "zeros": True},
    "q5_1": {"bits": 5, "group": 32, "minima": True},
    "q4_k": {"bits": 4, "group": 32, "minima": True, "super": 256},
    "q5_k": {"bits": 5, "group": 32, "minima": True, "super": 256},
    "q6_k": {"bits": 6, "group": 16, "super": 256},
    "q2_k": {"bits": 4, "group": 16, "minima": True, "super": 256},
}
INTEGERS = {
    "int4": spec_of(300, 70, BF16, bias=True, scale=0.3, output=BF16, **CODED["int4"]),
    "int4-g32-zeros": spec_of(256, 96, BF16, swiglu=True, bias=True, **CODED["int4-g32-zeros"]),
    "int8-zeros": spec_of(140, 70, F32, x_start=3, **CODED["int8-zeros"], **RESIDUAL),
    "q5_1": spec_of(224, 70, BF16, output=BF16, **CODED["q5_1"]),
    "q4_k": spec_of(256, 96, BF16, swiglu=True, bias=True, **CODED["q4_k"]),
    "q5_k": spec_of(256, 70, F32, x_start=3, **CODED["q5_k"], **RESIDUAL),
    "q6_k": spec_of(512, 70, BF16, bias=True, **CODED["q6_k"]),
    "q2_k": spec_of(256, 33, F32, **CODED["q2_k"]),
}


class Problem:
    """Random operands of a spec for some rows, and what the kernel must give."""

    def __init__(self, spec: Spec, rows: int, seed: int = 0):
        random = np.random.default_rng(seed)
        self.spec, self.rows = spec, rows
        self.x = poisoned(rows + EXTRA, spec.x_pitch, dtype=spec.weight.dtype)
        stop = spec.x_start + spec.depth
        self.x[:rows, spec.x_start : stop] = stored(
            random.standard_normal((rows, spec.depth)), spec.weight
        )
        self.operands, self.values = _weight(spec, random)
        self.bias = self.residual = self.squares = None
        if spec.norm:
            self.squares = poisoned(rows + EXTRA, padded(spec.squares))
            self.squares[:rows, : spec.squares] = random.standard_normal((rows, spec.squares)) ** 2
        if spec.bias:
            self.bias = self.operands["bias"] = aligned(np.zeros(padded(spec.rows), np.float32))
            self.bias[: spec.rows] = random.standard_normal(spec.rows)
        if spec.residual_pitch:
            self.residual = poisoned(rows + EXTRA, spec.residual_pitch)
            start = spec.residual_start
            self.residual[:rows, start : start + spec.columns] = random.standard_normal(
                (rows, spec.columns)
            )

    @property
    def expected(self) -> np.ndarray:
        """The result in float64, without padding."""
        spec, start = self.spec, self.spec.residual_start
        x = exact(self.x[: self.rows, spec.x_start : spec.x_start + spec.depth])
        if self.squares is not None:
            sums = exact(self.squares[: self.rows, : spec.squares]).sum(1)
            x = x / np.sqrt(sums / spec.norm + spec.eps)[:, None]
        bias = None if self.bias is None else self.bias[: spec.rows].astype(np.float64)
        residual = None
        if self.residual is not None:
            residual = exact(self.residual[: self.rows, start : start + spec.columns])
        columns = spec.columns if spec.swiglu else None
        return reference.linear(
            x, self.values, bias, residual, scale=spec.scale, swiglu_columns=columns
        )

    def run(self, schedule: Schedule, **options: Any) -> np.ndarray:
        """The output buffer, poisoned beforehand as the workspace is."""
        spec, kernel = self.spec, FAMILY.build(self.spec, TARGET, schedule)
        buffers = {"control": control_of(self.rows, logit_rows=self.rows), "x": self.x}
        buffers |= self.operands
        if self.residual is not None:
            buffers["residual"] = self.residual
        if self.squares is not None:
            buffers["squares"] = self.squares
        bucket = self.rows + EXTRA
        if spec.scaled:
            buffers["norm"] = aligned(np.ones(spec.y_pitch, np.float32))
            buffers["scaled"] = poisoned(bucket, spec.y_pitch, dtype=spec.weight.dtype)
            buffers["sums"] = poisoned(bucket, padded(schedule.across(spec)))
        buffers["y"] = poisoned(bucket, spec.y_pitch, dtype=spec.output.dtype)
        sizes = {}
        if spec.bits:
            sizes["expanded"] = schedule.slab_rows(spec) * spec.integers.depth
        for parameter in kernel.parameters:
            if parameter.name in sizes:
                buffers[parameter.name] = poisoned(1, sizes[parameter.name], dtype=parameter.dtype)
        run(kernel, buffers, {"tokens": bucket, "logit_rows": bucket}, **options)
        return buffers["y"]


def _weight(spec: Spec, random: np.random.Generator) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The buffers of a weight, and its values in float64."""
    if not spec.bits:
        weight = stored(random.standard_normal((spec.rows, spec.depth)), spec.weight)
        missing = padded(spec.depth) - spec.depth
        return {"weight": aligned(np.pad(weight, [(0, 0), (0, missing)]))}, exact(weight)
    shapes = spec.integers
    wanted = SimpleNamespace(
        bits=spec.bits,
        group=spec.group,
        stores_zeros=spec.zeros,
        has_minima=spec.minima,
        super_block=spec.super,
        entries=shapes.entries,
    )
    integers = random_integers(wanted, spec.rows, spec.depth, seed=int(random.integers(1 << 30)))
    integers.scales[:] = integers.scales * np.float16((0.001 if spec.super else 0.1) / spec.bits)
    buffers = {
        "codes": aligned(shapes.pack_codes(integers.codes)),
        "scales": aligned(shapes.pack_groups(integers.scales).view(np.uint16)),
    }
    if spec.zeros:
        buffers["zeros"] = aligned(shapes.pack_groups(integers.zeros))
    if spec.super:
        buffers["factors"] = aligned(shapes.pack_groups(integers.factors))
    value = integers.values(spec.depth).astype(np.float64)
    return buffers, value if spec.form is LinearForm.ROWS else exact(stored(value, spec.weight))


def check(problem: Problem, out: np.ndarray) -> None:
    """The live rows are right, padding is 0, and the other rows are as poisoned as before."""
    spec, live = problem.spec, out[: problem.rows]
    tolerance = 2e-2 if spec.output is BF16 else 1e-4
    # Codes are multiplied with an offset of at most 136 on them: what cancels is a sum that is
    # larger than the largest result, in float32.
    cancelled = 1e-5 * np.abs(problem.expected).max(initial=0)
    np.testing.assert_allclose(
        exact(live[:, : spec.columns]), problem.expected, tolerance, max(tolerance, cancelled)
    )
    assert (live[:, spec.columns :] == 0).all()
    rest = out[problem.rows :]
    assert (rest == 0xFFFF).all() if out.dtype == np.uint16 else np.isnan(rest).all()


FORMS = {"tiles": TILES, "rows": WHOLE, "parts": PARTS}


def in_form(spec: Spec, form: str) -> Spec:
    """The spec for tiles or for few rows."""
    return replace(spec, form=LinearForm.TILES if form == "tiles" else LinearForm.ROWS)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PLAIN)
def test_plain_weights(name: str, form: str) -> None:
    for rows in (0, 19):
        problem = Problem(in_form(PLAIN[name], form), rows, seed=rows)
        check(problem, problem.run(FORMS[form], backwards=form == "rows"))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", INTEGERS)
def test_integers(name: str, form: str) -> None:
    problem = Problem(in_form(INTEGERS[name], form), 5)
    check(problem, problem.run(FORMS[form]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spec", [PLAIN["odd"], INTEGERS["int4"]], ids=["plain", "int4"])
def test_a_row_has_the_same_bits_in_any_batch(spec: Spec, form: str) -> None:
    schedule = FORMS[form]
    problem = Problem(in_form(spec, form), 18)
    together = problem.run(schedule)
    for row in (3, 17):
        alone = Problem(problem.spec, 1)
        alone.operands, alone.x[0] = problem.operands, problem.x[row]
        assert np.array_equal(alone.run(schedule)[0], together[row])


@pytest.mark.parametrize("name", ["plain", "int4"])
def test_a_problem_of_a_norm_in_parts_has_all_its_operands(name: str) -> None:
    """The released artifacts have such kernels, which `benchmarks/gpu` checks by this class."""
    spec = PLAIN["residual"] if name == "plain" else INTEGERS["int4"]
    split = replace(in_form(spec, "rows"), norm=77, squares=5, eps=1e-5, scaled=True)
    problem = Problem(split, 5)
    check(problem, problem.run(PARTS))


def test_the_output_may_take_the_place_of_the_residual() -> None:
    for form in (LinearForm.TILES, LinearForm.ROWS):
        spec = replace(PLAIN["residual"], residual_start=0, residual_pitch=80, form=form)
        problem = Problem(spec, 5)
        expected, stream = problem.expected, problem.residual
        assert stream is not None
        buffers = {"control": control_of(5), "x": problem.x, **problem.operands}
        run(
            FAMILY.build(spec, TARGET, TILES if form is LinearForm.TILES else WHOLE),
            {**buffers, "residual": stream, "y": stream},
            {"tokens": 5},
        )
        np.testing.assert_allclose(stream[:5, : spec.columns], expected, 1e-4, 1e-4)


def test_words_hold_pairs_of_neighbouring_columns() -> None:
    shapes = IntegerBlocks(rows=70, columns=300, bits=4, group=128)
    codes = np.random.default_rng(5).integers(0, 16, (70, 300))
    packed = shapes.pack_codes(codes)
    assert packed.shape == shapes.codes_shape == (2, 2, 64, 32)
    for row, column in ((0, 0), (63, 255), (64, 256), (69, 299), (3, 77)):
        place, inside = divmod(column % 256, 64)
        word = int(packed[row // 64, column // 256, row % 64, inside // 2 % 4 * 8 + inside // 8])
        assert word >> (place * 4 + inside % 2 * 16) & 15 == codes[row, column]
    assert not packed[1, :, 6:].any()
    assert np.array_equal(shapes.pack_codes(codes[64:]), packed[1:])


def test_groups_that_no_block_holds_are_refused() -> None:
    assert IntegerBlocks(64, 256, 4, 48).refusal
    assert IntegerBlocks(64, 256, 8, 96).refusal
    assert not any(IntegerBlocks(64, 256, 4, group).refusal for group in (32, 64, 128, 256, 512))
