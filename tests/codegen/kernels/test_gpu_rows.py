"""GPU kernels that go row by row, interpreted, against the reference in float64."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from sala_compile.codegen.kernels.cast import gpu as cast
from sala_compile.codegen.kernels.elementwise import gpu as elementwise
from sala_compile.codegen.kernels.elementwise.cpu import Function
from sala_compile.codegen.kernels.embedding import gpu as embedding
from sala_compile.codegen.kernels.embedding_integers import gpu as embedding_integers
from sala_compile.codegen.kernels.rms_norm import gpu as rms_norm
from sala_compile.codegen.kernels.rope import gpu as rope
from sala_compile.codegen.kernels.rope_table import gpu as rope_table
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.integer_blocks import IntegerBlocks
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.sala_ir import reference
from tests.support.gpu_rows import run_rows
from tests.support.integers import random_integers
from tests.support.rows import TABLES, activation, check_table, close, exact, stored, vector_weight
from tests.support.steps import EXTRA, aligned, padded

TARGET = CudaTarget(90)
BF16, F32 = Element.BF16, Element.F32
ROWS = (0, 5)

NORMS = (
    rms_norm.Spec(130, 130, 1e-6, False, 0, 144, F32, BF16),
    rms_norm.Spec(30, 10, 1e-5, False, 3, 48, F32, F32),
    rms_norm.Spec(192, 64, 1e-6, False, 16, 224, BF16, F32),
    rms_norm.Spec(7, 7, 1e-6, True, 0, 16, F32, F32),
    rms_norm.Spec(131, 131, 1e-6, False, 2, 144, F32, BF16, F32, 9, 160),
    rms_norm.Spec(60, 20, 1e-6, False, 0, 64, BF16, F32, BF16, 1, 64),
    rms_norm.Spec(130, 13, 1e-6, False, 2, 144, F32, F32, weights=5),
)
"""The fifth one has a gate over whole rows, the sixth over heads, the last five groups' weights."""
ROPES = tuple(
    rope.Spec(heads * size, size, rotated, 5, padded(heads * size + 5), x, out, *norm)
    for heads, size, rotated, x, out, *norm in (
        (3, 8, 8, F32, F32),
        (2, 10, 10, F32, BF16),
        (3, 90, 90, BF16, F32),
        (3, 24, 6, F32, BF16),
        (2, 11, 10, BF16, F32),
        (3, 24, 24, F32, F32, True, 1e-6),
        (2, 44, 10, F32, BF16, True, 1e-5),
    )
)
EMBEDDINGS = tuple(
    embedding.Spec(70, columns, 12.0, False, kind, F32) for columns, kind in ((33, BF16), (80, F32))
)
INTEGERS = tuple(
    embedding_integers.Spec(70, columns, 12.0, F32, bits, group, *more)
    for columns, bits, group, *more in (
        (90, 4, 32),
        (160, 4, 128, True),
        (80, 8, 32),
        (256, 5, 32, False, True, 256),
        (256, 6, 16, False, False, 256),
    )
)


def live(buffer: np.ndarray, rows: int, start: int, columns: int) -> np.ndarray:
    """A view of columns of the live rows, in float64."""
    return exact(buffer[:rows, start : start + columns])


def same_bits_alone(found: np.ndarray, kernel: Any, *operands: Any) -> None:
    """The first row alone, of a grid that runs backwards, has the bits that it has in a batch."""
    if not len(found):
        return
    kind = BF16 if found.dtype == np.uint16 else F32
    alone = run_rows(kernel, 1, found.shape[1], kind, *operands, backwards=True)
    assert np.array_equal(alone[0], found[0])


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("spec", NORMS, ids=lambda s: s.symbol)
def test_rms_norm(spec: rms_norm.Spec, rows: int) -> None:
    kernel = rms_norm.FAMILY.build(spec, TARGET, rms_norm.Schedule(tile=32))
    x, weight = (
        activation(rows, spec.x_pitch, spec.x, seed=rows),
        vector_weight(spec.group * spec.weights),
    )
    order = np.random.default_rng(1).integers(0, max(rows, 1), rows + EXTRA).astype(np.int32)
    operands = [x, weight, *([aligned(order)] if spec.gather else [])]
    gate = None
    if spec.gate_pitch:
        operands.append(activation(rows, spec.gate_pitch, spec.gate, seed=3))
        gate = live(operands[-1], rows, spec.gate_start, spec.columns)
    found = run_rows(kernel, rows, spec.columns, spec.output, *operands)
    source = live(x, rows, spec.x_start, spec.columns)
    chosen = order[:rows] if spec.gather else None
    scale = weight[: spec.group * spec.weights].astype(np.float64)
    expected = reference.rms_norm(source, scale, chosen, gate, eps=spec.eps, groups=spec.weights)
    close(found, expected, spec.output)
    same_bits_alone(found, kernel, *operands)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(("kind", "output"), list(product((F32, BF16), repeat=2)))
def test_cast(kind: Element, output: Element, rows: int) -> None:
    spec = cast.Spec(70, 3, 80, kind, output)
    kernel = cast.FAMILY.build(spec, TARGET, cast.Schedule(block=32))
    x = activation(rows, spec.x_pitch, kind)
    found = run_rows(kernel, rows, spec.columns, output, x)
    expected = stored(live(x, rows, spec.x_start, spec.columns), output)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("spec", ROPES, ids=lambda s: s.symbol)
def test_rope(spec: rope.Spec, rows: int) -> None:
    kernel = rope.FAMILY.build(spec, TARGET, rope.Schedule(pairs=16))
    x, table = activation(rows, spec.x_pitch, spec.x), activation(rows, padded(spec.rotated), F32)
    weight = vector_weight(spec.head_dim)
    operands = (x, table, weight) if spec.norm else (x, table)
    found = run_rows(kernel, rows, spec.columns, spec.output, *operands)
    angles = live(table, rows, 0, spec.rotated)
    norm = {"norm": weight[: spec.head_dim], "eps": spec.eps} if spec.norm else {}
    expected = reference.rope(
        live(x, rows, spec.x_start, spec.columns), angles, head_dim=spec.head_dim, **norm
    )
    close(found, expected, spec.output)


@pytest.mark.parametrize("spec", TABLES[1:4:2] + TABLES[-4:], ids=lambda s: s.symbol)
def test_rope_table_is_that_of_float32_angles(spec: rope_table.Spec) -> None:
    kernel = rope_table.FAMILY.build(spec, TARGET)
    check_table(spec, lambda rows, columns, *arrays: run_rows(kernel, rows, columns, F32, *arrays))


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("spec", EMBEDDINGS, ids=lambda s: s.symbol)
def test_embedding(spec: embedding.Spec, rows: int) -> None:
    kernel = embedding.FAMILY.build(spec, TARGET, embedding.Schedule(block=32))
    random = np.random.default_rng(2)
    matrix = random.standard_normal((spec.vocabulary, spec.columns))
    missing = padded(spec.columns) - spec.columns
    weight = stored(np.pad(matrix, [(0, 0), (0, missing)]), spec.weight)
    ids = random.integers(0, spec.vocabulary, rows + EXTRA).astype(np.int32)
    ids[:2] = 0, spec.vocabulary - 1
    ids[rows:] = -1
    found = run_rows(kernel, rows, spec.columns, F32, aligned(ids), weight)
    expected = exact(weight)[ids[:rows], : spec.columns].astype(np.float32) * np.float32(12)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("spec", INTEGERS, ids=lambda s: s.symbol)
def test_embedding_of_integers(spec: embedding_integers.Spec) -> None:
    """The values of the integers, to the bit but for a sum with a minimum."""
    integers = random_integers(spec, spec.vocabulary, spec.columns)
    kernel = embedding_integers.FAMILY.build(spec, TARGET, embedding_integers.Schedule(block=64))
    shapes = IntegerBlocks(
        spec.vocabulary,
        spec.columns,
        spec.bits,
        spec.group,
        zeros=spec.stores_zeros,
        minima=spec.has_minima,
        super_block=spec.super_block,
    )
    parts = [shapes.pack_codes(integers.codes), shapes.pack_groups(integers.scales).view(np.uint16)]
    parts += [shapes.pack_groups(integers.zeros)] if spec.stores_zeros else []
    parts += [shapes.pack_groups(integers.factors)] if spec.super_block else []
    ids = np.random.default_rng(2).integers(0, spec.vocabulary, 5 + EXTRA).astype(np.int32)
    ids[:2] = 0, spec.vocabulary - 1
    ids[5:] = -1
    found = run_rows(kernel, 5, spec.columns, spec.output, aligned(ids), *map(aligned, parts))
    wanted = integers.values(spec.columns)[ids[:5]] * np.float32(spec.scale)
    tolerance = 2.0**-20 * np.abs(wanted).max() if spec.has_minima else 0
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)


PAIRS = {
    Function.OUTPUT_GATE: reference.output_gate,
    Function.SWIGLU: reference.swiglu,
    Function.RESIDUAL_ADD: lambda a, b: a + 0.25 * b,
}


@pytest.mark.parametrize("output", Element)
@pytest.mark.parametrize("function", PAIRS)
def test_elementwise(function: Any, output: Element) -> None:
    spec = elementwise.Spec(function, 70, 0.25, 3, 80, 2, 96, F32, F32, output)
    kernel = elementwise.FAMILY.build(spec, TARGET, elementwise.Schedule(block=64))
    a, b = activation(3, spec.a_pitch, F32), activation(3, spec.b_pitch, F32, seed=4)
    found = run_rows(kernel, 3, spec.columns, output, a, b)
    close(found, PAIRS[function](live(a, 3, 3, 70), live(b, 3, 2, 70)), output)
