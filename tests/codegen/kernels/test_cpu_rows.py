"""Kernels that go row by row, against NumPy in float64."""

from collections.abc import Callable
from functools import cache
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from sala_compile.codegen.kernels.cast import cpu as cast
from sala_compile.codegen.kernels.elementwise import cpu as elementwise
from sala_compile.codegen.kernels.elementwise.spec import OPERANDS
from sala_compile.codegen.kernels.embedding import cpu as embedding
from sala_compile.codegen.kernels.embedding_integers import cpu as embedding_integers
from sala_compile.codegen.kernels.layer_norm import cpu as layer_norm
from sala_compile.codegen.kernels.rms_norm import cpu as rms_norm
from sala_compile.codegen.kernels.rope import cpu as rope
from sala_compile.codegen.kernels.rope_table import cpu as rope_table
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.panels import pack_panels
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir import reference
from tests.support.integers import panel_parts, random_integers
from tests.support.rows import TABLES, activation, check_table, close, exact, vector_weight
from tests.support.steps import EXTRA, Library, aligned, padded, poisoned, to_bits

HOST = CpuTarget.host()
PORTABLE = CpuTarget("x86-64-v3")
BF16, F32 = Element.BF16, Element.F32
ROWS = (0, 1, 3, 65)

both_targets = pytest.mark.parametrize("target", [HOST, PORTABLE], ids=["host", "portable"])


def norm_specs() -> list[rms_norm.Spec]:
    """Whole rows and heads, gathered rows, gates, views, both element types."""
    make = rms_norm.Spec
    return [
        make(130, 130, 1e-6, False, 0, 144, F32, BF16),
        make(30, 10, 1e-5, False, 3, 48, F32, F32),
        make(192, 64, 1e-6, False, 16, 224, BF16, F32),
        make(7, 7, 1e-6, True, 0, 16, F32, F32),
        make(256, 256, 1e-6, True, 5, 272, F32, BF16),
        make(131, 131, 1e-6, False, 2, 144, F32, BF16, F32, 9, 160),
        make(64, 64, 1e-6, False, 0, 64, F32, F32, BF16, 0, 64),
        make(60, 20, 1e-6, False, 0, 64, BF16, F32, BF16, 1, 64),
        make(96, 48, 1e-6, False, 0, 96, F32, BF16, weights=2),
        make(60, 10, 1e-6, False, 3, 64, F32, F32, weights=3),
    ]


def layer_norm_specs() -> list[layer_norm.Spec]:
    """Below, at and above a vector; views, both element types."""
    make = layer_norm.Spec
    return [
        make(16, 1e-6, 0, 16, F32, F32),
        make(7, 1e-6, 3, 16, F32, BF16),
        make(130, 1e-5, 5, 144, BF16, F32),
        make(128, 1e-6, 2, 144, F32, F32),
    ]


def rope_specs() -> list[rope.Spec]:
    """Every kind of head size: below, at and above a vector; heads of which a part is rotated."""
    return [
        rope.Spec(heads * size, size, rotated, 5, padded(heads * size + 5), x, out, *norm)
        for heads, size, rotated, x, out, *norm in (
            (3, 8, 8, F32, F32),
            (2, 10, 10, F32, BF16),
            (1, 32, 32, BF16, F32),
            (4, 64, 64, F32, F32),
            (2, 128, 128, F32, F32),
            (3, 90, 90, F32, F32),
            (3, 24, 6, F32, BF16),
            (2, 11, 10, BF16, F32),
            (2, 90, 34, F32, F32),
            (3, 24, 24, F32, F32, True, 1e-6),
            (2, 128, 128, F32, BF16, True, 1e-5),
            (2, 90, 34, BF16, F32, True, 1e-6),
        )
    ]


def embedding_specs() -> list[embedding.Spec]:
    """Both layouts and element types."""
    return [
        embedding.Spec(70, columns, 12.0, panel, kind, F32)
        for columns, panel, kind in product((10, 80, 33), (False, True), Element)
    ]


def integer_specs() -> list[embedding_integers.Spec]:
    """Every number of bits, zeros and minima, super-blocks; parts of vectors and of panels."""
    kinds: list[dict[str, Any]] = [
        {"columns": 90, "bits": 4, "group": 32},
        {"columns": 160, "bits": 4, "group": 128, "stores_zeros": True},
        {"columns": 80, "bits": 8, "group": 32, "output": BF16},
        {"columns": 144, "bits": 5, "group": 32, "has_minima": True},
        {"columns": 512, "bits": 4, "group": 32, "has_minima": True, "super_block": 256},
        {"columns": 256, "bits": 5, "group": 32, "has_minima": True, "super_block": 256},
        {"columns": 256, "bits": 6, "group": 16, "super_block": 256},
    ]
    common = {"vocabulary": 70, "scale": 12.0, "output": F32}
    return [embedding_integers.Spec(**(common | kind)) for kind in kinds]


GATE = elementwise.Function.OUTPUT_GATE


def pair_specs() -> list[elementwise.Spec]:
    """Every function; views; both element types."""
    return (
        [
            elementwise.Spec(function, 70, 0.25, 3, 80, 2, 96, F32, F32, output)
            for function, output in product(elementwise.Function, Element)
        ]
        + [
            elementwise.Spec(GATE, 70, 0.25, 3, 80, 2, 96, F32, b, output, run)
            for run, b, output in (
                (70, F32, F32),
                (14, BF16, F32),
                (35, F32, BF16),
                (2, BF16, BF16),
            )
        ]
        + [
            elementwise.Spec(
                elementwise.Function.SWIGLU, 70, 1.0, 3, 80, 2, 96, F32, F32, F32, limit=0.5
            )
        ]
    )


def cast_specs() -> list[cast.Spec]:
    """Views; both ways, and none."""
    return [cast.Spec(70, 3, 80, x, y) for x, y in product(Element, Element)]


def functions(target: CpuTarget, module: ModuleType, specs: list[Any]) -> list[Any]:
    """The PrimFuncs of some specs."""
    return [module.FAMILY.build(spec, target) for spec in specs]


@cache
def library(target: CpuTarget) -> Library:
    """All kernels of this file."""
    parts = (
        functions(target, rms_norm, norm_specs()),
        functions(target, layer_norm, layer_norm_specs()),
        functions(target, rope, rope_specs()),
        functions(target, rope_table, list(TABLES)),
        functions(target, embedding, embedding_specs()),
        functions(target, embedding_integers, integer_specs()),
        functions(target, elementwise, pair_specs()),
        functions(target, cast, cast_specs()),
    )
    return Library([function for part in parts for function in part], target)


def run(
    target: CpuTarget, spec: Any, rows: int, columns: int, output: Element, *arrays: np.ndarray
) -> np.ndarray:
    """The live columns of the output in float64, after a check of all that must not change."""
    control = np.array([rows, 0, rows, 2, *[0] * 12], np.int32)
    out = poisoned(rows + EXTRA, padded(columns), dtype=output.dtype)
    library(target).call(spec.symbol, aligned(control), *arrays, out)
    assert np.isnan(exact(out[rows:])).all()
    assert (out[:rows, columns:] == 0).all()
    for workers, count in ((1, rows), (3, rows), (2, min(rows, 1))):
        control[0] = control[2] = count
        control[3] = workers
        again = poisoned(rows + EXTRA, padded(columns), dtype=output.dtype)
        library(target).call(spec.symbol, aligned(control), *arrays, again)
        assert np.array_equal(again[:count], out[:count])
    return exact(out[:rows, :columns])


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


@both_targets
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("spec", norm_specs(), ids=lambda s: s.symbol)
def test_rms_norm(spec: rms_norm.Spec, rows: int, target: CpuTarget) -> None:
    period = spec.group * spec.weights
    x, weight = activation(rows, spec.x_pitch, spec.x), vector_weight(period)
    order = np.random.default_rng(1).integers(0, max(rows, 1), rows + EXTRA).astype(np.int32)
    live = exact(x[:rows, spec.x_start : spec.x_start + spec.columns])
    if spec.gather:
        live = live[order[:rows]]
    factors = np.tile(weight[:period], spec.columns // period).reshape(-1, spec.group)
    expected = norm(live.reshape(rows, spec.columns // spec.group, spec.group), factors, spec.eps)
    expected = expected.reshape(rows, spec.columns)
    extra = [aligned(order)] if spec.gather else []
    if spec.gate_pitch:
        extra.append(activation(rows, spec.gate_pitch, spec.gate, seed=3))
        start = spec.gate_start
        expected = expected * sigmoid(exact(extra[-1][:rows, start : start + spec.columns]))
    close(
        run(target, spec, rows, spec.columns, spec.output, x, weight, *extra), expected, spec.output
    )


@both_targets
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("spec", layer_norm_specs(), ids=lambda s: s.symbol)
def test_layer_norm(spec: layer_norm.Spec, rows: int, target: CpuTarget) -> None:
    """Of rows far from zero: squares are of what differs from the mean."""
    x, columns = activation(rows, spec.x_pitch, spec.x), spec.columns
    if spec.x is F32:
        x[:rows] += 100.0
    weight, bias = vector_weight(columns), vector_weight(columns, seed=8)
    live = exact(x[:rows, spec.x_start : spec.x_start + columns])
    expected = reference.layer_norm(live, weight[:columns], bias[:columns], eps=spec.eps)
    found = run(target, spec, rows, columns, spec.output, x, weight, bias)
    tolerance = 1e-2 if spec.output is BF16 else 1e-4
    np.testing.assert_allclose(exact(found), expected, rtol=tolerance, atol=tolerance)


@both_targets
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("spec", rope_specs(), ids=lambda s: s.symbol)
def test_rope(spec: rope.Spec, rows: int, target: CpuTarget) -> None:
    x, columns = activation(rows, spec.x_pitch, spec.x), spec.columns
    table = activation(rows, padded(spec.rotated), F32, seed=5)
    live = exact(x[:rows, spec.x_start : spec.x_start + columns])
    angles = exact(table[:rows, : spec.rotated])
    weight = vector_weight(spec.head_dim)
    norm = {"norm": weight[: spec.head_dim], "eps": spec.eps} if spec.norm else {}
    expected = reference.rope(live, angles, head_dim=spec.head_dim, **norm)
    operands = (x, table, weight) if spec.norm else (x, table)
    close(run(target, spec, rows, columns, spec.output, *operands), expected, spec.output)


@both_targets
def test_a_norm_inside_of_a_rotation_has_the_bits_of_one_before(target: CpuTarget) -> None:
    size, rows = 128, 5
    fused = next(spec for spec in rope_specs() if spec.norm and spec.head_dim == size)
    norm = rms_norm.Spec(256, size, fused.eps, False, 5, fused.x_pitch, F32, F32)
    alone = rope.Spec(256, size, size, 0, 256, F32, BF16)
    kernels = Library(
        [
            *functions(target, rms_norm, [norm]),
            *functions(target, rope, [alone, fused]),
        ],
        target,
    )
    x, table = activation(rows, fused.x_pitch, F32), activation(rows, size, F32, seed=5)
    weight, control = vector_weight(size), aligned(np.array([rows, 0, 0, 1, *[0] * 12], np.int32))
    normal, one, two = (poisoned(rows, 256, dtype=kind) for kind in (F32.dtype, *[BF16.dtype] * 2))
    kernels.call(norm.symbol, control, x, weight, normal)
    kernels.call(alone.symbol, control, normal, table, one)
    kernels.call(fused.symbol, control, x, table, weight, two)
    np.testing.assert_array_equal(one, two)


@both_targets
@pytest.mark.parametrize("spec", TABLES, ids=lambda s: s.symbol)
def test_rope_table(spec: rope_table.Spec, target: CpuTarget) -> None:
    check_table(spec, lambda rows, columns, *arrays: run(target, spec, rows, columns, F32, *arrays))


@both_targets
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("spec", embedding_specs(), ids=lambda s: s.symbol)
def test_embedding(spec: embedding.Spec, rows: int, target: CpuTarget) -> None:
    random = np.random.default_rng(2)
    matrix = random.standard_normal((spec.vocabulary, spec.columns)).astype(np.float32)
    bits = to_bits(matrix) if spec.weight is BF16 else matrix
    missing = padded(spec.columns) - spec.columns
    stored = pack_panels(bits) if spec.panel else np.pad(bits, [(0, 0), (0, missing)])
    ids = random.integers(0, spec.vocabulary, rows + EXTRA).astype(np.int32)
    ids[:2] = 0, spec.vocabulary - 1
    ids[rows:] = -1
    found = run(target, spec, rows, spec.columns, F32, aligned(ids), aligned(stored))
    assert np.array_equal(found, exact(bits)[ids[:rows]].astype(np.float32) * np.float32(12))


@both_targets
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("spec", integer_specs(), ids=lambda s: s.symbol)
def test_embedding_of_integers(spec: embedding_integers.Spec, rows: int, target: CpuTarget) -> None:
    """The values of the integers to the bit, times the scale, rounded once more for bf16."""
    integers = random_integers(spec, spec.vocabulary, spec.columns)
    ids = np.random.default_rng(2).integers(0, spec.vocabulary, rows + EXTRA).astype(np.int32)
    ids[:2] = 0, spec.vocabulary - 1
    ids[rows:] = -1
    parts = panel_parts(integers, spec.bits, zeros=spec.stores_zeros)
    found = run(target, spec, rows, spec.columns, spec.output, aligned(ids), *parts)
    wanted = integers.values(spec.columns)[ids[:rows]] * np.float32(12)
    wanted = exact(to_bits(wanted)) if spec.output is BF16 else wanted
    assert np.array_equal(found, wanted)


PAIRS: dict[elementwise.Function, Callable[..., np.ndarray]] = {
    elementwise.Function.OUTPUT_GATE: lambda a, b: a * sigmoid(b),
    elementwise.Function.SWIGLU: lambda a, b: a * sigmoid(a) * b,
    elementwise.Function.RESIDUAL_ADD: lambda a, b: a + 0.25 * b,
    elementwise.Function.SILU: lambda a, b: a * sigmoid(a),
    elementwise.Function.SQUARED_RELU: lambda a, b: np.maximum(a, 0) ** 2,
    elementwise.Function.SIGMOID: lambda a, b: 0.25 * sigmoid(a),
}


@both_targets
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("spec", pair_specs(), ids=lambda s: s.symbol)
def test_elementwise(spec: elementwise.Spec, rows: int, target: CpuTarget) -> None:
    a, b = activation(rows, spec.a_pitch, F32), activation(rows, spec.b_pitch, spec.b, seed=4)
    first = exact(a[:rows, spec.a_start : spec.a_start + 70])
    second = exact(b[:rows, spec.b_start : spec.b_start + 70 // spec.run])
    if spec.limit:
        first, second = np.minimum(first, spec.limit), np.clip(second, -spec.limit, spec.limit)
    expected = PAIRS[spec.function](first, second.repeat(spec.run, axis=1))
    given = (a,) if len(OPERANDS[spec.function]) == 1 else (a, b)
    close(run(target, spec, rows, spec.columns, spec.output, *given), expected, spec.output)


@both_targets
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("spec", cast_specs(), ids=lambda s: s.symbol)
def test_cast(spec: cast.Spec, rows: int, target: CpuTarget) -> None:
    x = activation(rows, spec.x_pitch, spec.x)
    wanted = exact(x[:rows, 3:73])
    wanted = exact(to_bits(wanted)) if spec.output is BF16 else wanted
    assert np.array_equal(run(target, spec, rows, 70, spec.output, x), wanted)
