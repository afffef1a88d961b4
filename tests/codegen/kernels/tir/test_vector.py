"""The vector functions that kernels are written with, on every kind of target."""

from collections.abc import Callable
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import LANES, Expr, kernel, lanes, loop, splat
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.targets.cpu import CpuTarget
from tests.support.steps import Library, aligned, poisoned

HOST = CpuTarget.host()
TARGETS = tuple(dict.fromkeys((HOST, CpuTarget("x86-64-v3"), CpuTarget("x86-64"))))
FUNCTIONS: dict[str, Callable[[Expr], Expr]] = {
    "exp": vector.exp,
    "exp2": vector.exp2,
    "scaled": lambda x: vector.scaled(splat(1.5), vector.floor(x)),
    "sigmoid": vector.sigmoid,
    "silu": vector.silu,
    "sine": vector.sine,
    "cosine": vector.cosine,
    "log": vector.log,
}

pytestmark = pytest.mark.parametrize(
    "target", [t for t in TARGETS if t.runs_here], ids=lambda t: t.processor
)


def control(rows: int) -> np.ndarray:
    """A control tensor for `rows` tokens and one worker."""
    return aligned(np.array([rows, 1, 1, 1, *[0] * 12], np.int32))


def map_kernel(symbol: str, target: CpuTarget, function: Callable[[Expr], Expr]) -> Any:
    """A kernel that applies a function to every vector of x."""
    dtype = "uint16" if symbol == "to_bf16" else "float32"
    with kernel(symbol, target) as builder:
        sizes = builder.control()
        x = builder.tensor("x", ("x_rows", LANES), "float32")
        y = builder.tensor("y", ("y_rows", LANES), dtype)

        def body(team: Team) -> None:
            with loop(sizes.tokens) as row:
                y[row, lanes(0)] = function(x[row, lanes(0)])

        workers(builder, sizes, body)
    return builder.function


def fold_kernel(target: CpuTarget) -> Any:
    """A kernel that writes the sum and the largest lane of every vector of x."""
    with kernel("fold", target) as builder:
        sizes = builder.control()
        x = builder.tensor("x", ("x_rows", LANES), "float32")
        y = builder.tensor("y", ("y_rows", 2), "float32")

        def body(team: Team) -> None:
            with loop(sizes.tokens) as row:
                y[row, 0] = vector.total(x[row, lanes(0)])
                y[row, 1] = vector.largest(x[row, lanes(0)])

        workers(builder, sizes, body)
    return builder.function


def tail_kernel(element: Element, target: CpuTarget) -> Any:
    """A kernel that copies the first 5 values of row i to row i, from column 3 on."""
    with kernel(f"tail_{element}", target) as builder:
        sizes = builder.control()
        x = builder.tensor("x", ("x_rows", 8), element.dtype)
        y = builder.tensor("y", ("y_rows", 8), element.dtype)

        def body(team: Team) -> None:
            with loop(sizes.tokens) as row:
                element.store(y, row, 3, value=element.load(x, row, 0, count=5), count=5)

        workers(builder, sizes, body)
    return builder.function


@cache
def library(target: CpuTarget) -> Library:
    """All kernels of this file for a target."""
    maps = [map_kernel(name, target, function) for name, function in FUNCTIONS.items()]
    maps.append(map_kernel("to_bf16", target, vector.to_bf16))
    tails = [tail_kernel(element, target) for element in Element]
    return Library([*maps, fold_kernel(target), *tails], target)


def apply(target: CpuTarget, name: str, x: np.ndarray, dtype: type = np.float32) -> np.ndarray:
    """The function of every value of x."""
    rows = -(-x.size // LANES)
    padded = np.zeros((rows, LANES), np.float32)
    padded.reshape(-1)[: x.size] = x
    y = poisoned(rows, LANES, dtype=dtype)
    library(target).call(name, control(rows), aligned(padded), y)
    return y.reshape(-1)[: x.size]


def ulps(found: np.ndarray, exact: np.ndarray) -> float:
    """The largest error in units of the last place of the exact value."""
    return float(np.max(np.abs(found - exact) / np.spacing(np.abs(exact).astype(np.float32))))


def test_exp_is_accurate_to_two_ulp(target: CpuTarget) -> None:
    x = np.linspace(-87.3, 88.3, 200_003, dtype=np.float32)
    assert ulps(apply(target, "exp", x), np.exp(x.astype(np.float64))) <= 2


def test_exp_at_its_ends(target: CpuTarget) -> None:
    x = np.array([0, -0.0, -np.inf, -88, -1e30, np.nan, 1e30], np.float32)
    found = apply(target, "exp", x)
    assert found[:5].tolist() == [1, 1, 0, 0, 0]
    assert np.isnan(found[5])
    assert found[6] > 2e38


def test_exp2_is_accurate_to_three_ulp(target: CpuTarget) -> None:
    x = np.linspace(-125.9, 127.9, 200_003, dtype=np.float32)
    assert ulps(apply(target, "exp2", x), np.exp2(x.astype(np.float64))) <= 3


def test_exp2_at_its_ends(target: CpuTarget) -> None:
    x = np.array([0, -0.0, -1, 5, -np.inf, -160, -1e30, np.nan, 129, 1e30], np.float32)
    found = apply(target, "exp2", x)
    assert found[:7].tolist() == [1, 1, 0.5, 32, 0, 0, 0]
    assert np.isnan(found[7])
    assert found[8:].tolist() == [np.inf, np.inf]


def test_scaling_by_whole_powers_is_exact(target: CpuTarget) -> None:
    x = np.array([-0.5, 0.7, -125, 126.9, -1e30, 200], np.float32)
    found = apply(target, "scaled", x).tolist()
    assert found == [0.75, 1.5, 1.5 * 2.0**-125, 1.5 * 2.0**126, 0, np.inf]


@pytest.mark.parametrize("name", ["sigmoid", "silu"])
def test_gates(target: CpuTarget, name: str) -> None:
    x = np.linspace(-80, 80, 100_003, dtype=np.float32)
    exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    exact = exact * x if name == "silu" else exact
    assert ulps(apply(target, name, x), exact) <= 4


@pytest.mark.parametrize(("name", "exact"), [("sine", np.sin), ("cosine", np.cos)])
def test_trigonometry_to_a_million_radians(target: CpuTarget, name: str, exact: Any) -> None:
    random = np.random.default_rng(0)
    x = np.concatenate([random.uniform(0, 1e6, 50_000), random.uniform(0, 10, 5_000), [0, 1e6]])
    x = x.astype(np.float32)
    expected = exact(x.astype(np.float64)).astype(np.float32)
    difference = np.abs(apply(target, name, x).view(np.int32) - expected.view(np.int32))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-4


def test_logarithms_are_rounded_once(target: CpuTarget) -> None:
    random = np.random.default_rng(0)
    x = np.exp(random.uniform(-80, 80, 50_000))
    x = np.concatenate([x, 1 + np.linspace(-1e-3, 1e-3, 5_001), np.arange(1, 5_000), [2.0**24]])
    x = x.astype(np.float32)
    expected = np.log(x.astype(np.float64)).astype(np.float32)
    difference = np.abs(apply(target, "log", x).view(np.int32) - expected.view(np.int32))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-4


def test_bf16_rounding_has_the_same_bits_everywhere(target: CpuTarget) -> None:
    random = np.random.default_rng(1)
    bits = random.integers(0, 1 << 32, 200_000, dtype=np.uint32)
    ties = np.array([0x3F808000, 0x3F818000, 0x7F7FFFFF, 0x00000001, 0x807FFFFF, 0x7F800000])
    x = np.concatenate([bits, ties.astype(np.uint32), [0x7F800001, 0xFF800000, 0x80000000]])
    x = x.astype(np.uint32).view(np.float32)
    found = apply(target, "to_bf16", x, np.uint16)
    numbers = ~np.isnan(x)
    tiny = np.abs(x) < np.finfo(np.float32).tiny
    normal = np.where(tiny, np.copysign(np.float32(0), x), x)[numbers]
    assert np.array_equal(found[numbers], normal.astype(ml_dtypes.bfloat16).view(np.uint16))
    quiet = ((x.view(np.uint32) | 0x400000) >> 16).astype(np.uint16)
    assert np.array_equal(found[~numbers], quiet[~numbers])


def test_folds(target: CpuTarget) -> None:
    x = np.random.default_rng(2).standard_normal((50, LANES)).astype(np.float32)
    y = poisoned(50, 2)
    library(target).call("fold", control(50), aligned(x), y)
    halves = x
    while halves.shape[1] > 1:
        width = halves.shape[1] // 2
        halves = halves[:, :width] + halves[:, width:]
    assert np.array_equal(y[:, 0], halves[:, 0])
    assert np.array_equal(y[:, 1], x.max(1))


@pytest.mark.parametrize("element", list(Element))
def test_tails_touch_nothing_else(target: CpuTarget, element: Element) -> None:
    x = poisoned(3, 8, dtype=element.dtype)
    x[:, :5] = np.arange(15).reshape(3, 5) if element is Element.F32 else 0x3F80
    y = aligned(np.full((3, 8), 7, element.dtype))
    library(target).call(f"tail_{element}", control(3), x, y)
    assert np.array_equal(y[:, 3:], x[:, :5])
    assert (y[:, :3] == 7).all()
