"""Products of heads with matrices of their own against the float64 reference, and their bits."""

from functools import cache

import numpy as np
import pytest

from sala_compile.codegen.kernels.head_linear.cpu import FAMILY
from sala_compile.codegen.kernels.head_linear.spec import Spec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.reference import head_linear
from tests.support.pools import loaded, stored
from tests.support.steps import EXTRA, Library, aligned, padded, poisoned, step

HOST = CpuTarget.host()
PORTABLE = CpuTarget("x86-64-v3")
F32, BF16 = Element.F32, Element.BF16
START = 3


def spec_of(
    heads: int, inputs: int, outputs: int, pitch: int, x: Element, weight: Element, output: Element
) -> Spec:
    """A spec whose x begins in the middle of its buffer."""
    columns = padded(START + heads * pitch + 1)
    return Spec(heads, inputs, outputs, pitch, START, columns, x, weight, output)


SPECS = (
    spec_of(4, 16, 24, 24, F32, F32, F32),
    spec_of(4, 24, 12, 24, F32, F32, F32),
    spec_of(5, 10, 256, 16, F32, BF16, BF16),
    spec_of(3, 70, 33, 70, BF16, BF16, F32),
    spec_of(1, 1, 1, 1, BF16, F32, BF16),
)


@cache
def library(target: CpuTarget) -> Library:
    """The kernels of all specs for a target."""
    return Library([FAMILY.build(spec, target) for spec in SPECS], target)


def inputs(spec: Spec, tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and matrices, poisoned wherever nobody may read."""
    random = np.random.default_rng(tokens)
    x = poisoned(tokens + EXTRA, spec.x_pitch, dtype=spec.x.dtype)
    used = spec.num_heads * spec.head_pitch
    x[:tokens, START : START + used] = stored(random.standard_normal((tokens, used)), spec.x)
    weight = np.zeros((spec.num_heads * spec.input_dim, padded(spec.output_dim)))
    weight[:, : spec.output_dim] = random.standard_normal((len(weight), spec.output_dim))
    return x, aligned(stored(weight, spec.weight))


def run(spec: Spec, x: np.ndarray, weight: np.ndarray, tokens: int, **options: int) -> np.ndarray:
    """The kernel's result as it is stored."""
    batch = step((tokens,), **options)
    used = spec.num_heads * spec.output_dim
    target = HOST
    y = poisoned(tokens + EXTRA, padded(used), dtype=spec.output.dtype)
    before = y[tokens:].tobytes()
    library(target).call(spec.symbol, batch.field("control"), x, weight, y)
    assert y[tokens:].tobytes() == before
    assert (y[:tokens, used:] == 0).all()
    return y[:tokens, :used]


@pytest.mark.parametrize("tokens", [1, 2, 9, 130])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_equals_reference(spec: Spec, tokens: int) -> None:
    x, weight = inputs(spec, tokens)
    given = loaded(x[:tokens, START : START + spec.num_heads * spec.head_pitch], spec.x)
    matrices = loaded(weight[:, : spec.output_dim], spec.weight)
    wanted = head_linear(given, matrices, num_heads=spec.num_heads)
    found = loaded(run(spec, x, weight, tokens), spec.output)
    limit = 1e-2 if spec.output is BF16 else 2e-6
    assert np.abs(found - wanted).max() <= limit * np.abs(wanted).max()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_a_row_is_bit_equal_alone_and_with_any_number_of_workers(spec: Spec) -> None:
    x, weight = inputs(spec, 75)
    together = run(spec, x, weight, 75)
    assert np.array_equal(run(spec, x, weight, 75, workers=1), together)
    for row in (0, 7, 74):
        alone = aligned(np.concatenate([x[row : row + 1], x[75:]]))
        assert np.array_equal(run(spec, alone, weight, 1)[0], together[row])


def test_on_a_portable_target() -> None:
    spec = SPECS[2]
    x, weight = inputs(spec, 9)
    y = poisoned(9 + EXTRA, padded(spec.num_heads * spec.output_dim), dtype=spec.output.dtype)
    library(PORTABLE).call(spec.symbol, step((9,)).field("control"), x, weight, y)
    matrices = loaded(weight[:, : spec.output_dim], spec.weight)
    given = loaded(x[:9, START : START + spec.num_heads * spec.head_pitch], spec.x)
    wanted = head_linear(given, matrices, num_heads=spec.num_heads)
    found = loaded(y[:9, : spec.num_heads * spec.output_dim], spec.output)
    assert np.abs(found - wanted).max() <= 1e-2 * np.abs(wanted).max()
