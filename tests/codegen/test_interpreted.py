"""The interpreter that GPU kernels are tested with."""

import numpy as np
import pytest
import triton
import triton.language as tl

from sala_compile.codegen.kernels.triton.kernel import (
    ONE,
    GpuKernel,
    Grid,
    Launch,
    Parameter,
    Pointer,
)
from sala_compile.runtime.artifact import narrow_bfloat16, widen_bfloat16
from tests.support.interpreted import run
from tests.support.toy_kernel import toy_kernel


def _toy_buffers(rows: int, live: int) -> dict[str, np.ndarray]:
    control = np.zeros(16, np.int32)
    control[0] = live
    x = np.random.default_rng(rows).standard_normal((rows, 48)).astype(np.float32)
    return {
        "control": control,
        "x": x,
        "y": np.zeros((4, 48), np.uint16),
        "out": np.zeros(rows, np.float32),
    }


@pytest.mark.parametrize("backwards", [False, True])
def test_slabs_extents_and_buckets_are_as_the_runtime_has_them(backwards: bool):
    buffers = _toy_buffers(rows=11, live=9)
    run(toy_kernel(), buffers, {"tokens": 11}, poisoned=["y", "out"], backwards=backwards)
    squares = widen_bfloat16(narrow_bfloat16(buffers["x"] ** 2)).astype(np.float64)
    expected = squares.sum(1) + 0.5 * squares.max(1)
    assert np.allclose(buffers["out"][:9], expected[:9], rtol=1e-6)
    assert np.isnan(buffers["out"][9:]).all()


@triton.jit
def _products(a, b, out, N: tl.constexpr):
    index = tl.arange(0, N)
    at = index[:, None] * N + index[None, :]
    left, right = tl.load(a + at), tl.load(b + at)
    tl.store(out + at, tl.dot(left, tl.trans(right)) + (-left + right).to(tl.float32))


def test_bfloat16_is_computed_in_float32_and_rounded_to_even():
    rng = np.random.default_rng(3)
    a, b = (narrow_bfloat16(rng.standard_normal((16, 16)).astype(np.float32)) for _ in range(2))
    out = np.zeros((16, 16), np.float32)
    pointers = {"a": Pointer("a", "bf16"), "b": Pointer("b", "bf16"), "out": Pointer("out", "fp32")}
    kernel = GpuKernel(
        "products",
        tuple(
            Parameter(name, dtype, (16, 16))
            for name, dtype in (("a", "uint16"), ("b", "uint16"), ("out", "float32"))
        ),
        (Launch(_products, (ONE, ONE, ONE), pointers, {"N": 16}),),
    )
    run(kernel, {"a": a, "b": b, "out": out}, {})
    wide_a, wide_b = widen_bfloat16(a).astype(np.float64), widen_bfloat16(b).astype(np.float64)
    rounded = widen_bfloat16(narrow_bfloat16((wide_b - wide_a).astype(np.float32)))
    assert np.allclose(out, wide_a @ wide_b.T + rounded, rtol=1e-5, atol=1e-5)


@triton.jit
def _product(a, b, out, N: tl.constexpr, PRECISION: tl.constexpr):
    index = tl.arange(0, N)
    at = index[:, None] * N + index[None, :]
    tl.store(out + at, tl.dot(tl.load(a + at), tl.load(b + at), input_precision=PRECISION))


def _multiplied(a: np.ndarray, b: np.ndarray, precision: str) -> np.ndarray:
    out = np.zeros((16, 16), np.float32)
    names = ("a", "b", "out")
    kernel = GpuKernel(
        f"product_{precision}",
        tuple(Parameter(name, "float32", (16, 16)) for name in names),
        (
            Launch(
                _product,
                (ONE, ONE, ONE),
                {name: Pointer(name, "fp32") for name in names},
                {"N": 16, "PRECISION": precision},
            ),
        ),
    )
    run(kernel, {"a": a, "b": b, "out": out}, {})
    return out


def test_tf32_cuts_the_factors_and_ieee_keeps_them():
    """As the matrix instructions read them: 13 bits of 24 are not there, whatever they are."""
    short, long = np.float32(1 + 2**-10), np.float32(1 + 2**-10 + 2**-11 + 2**-23)
    a, b = np.zeros((2, 16, 16), np.float32)
    a[0, :3], b[:3, 0] = (long, -long, short), (1, 1, long)
    assert _multiplied(a, b, "tf32")[0, 0] == np.float32(short * short)
    assert _multiplied(a, b, "ieee")[0, 0] == np.float32(np.float64(short) * np.float64(long))
    a[0, :3], b[:3, 0] = (long, 0, 0), (1, 0, 0)
    assert _multiplied(a, b, "tf32")[0, 0] == short
    assert _multiplied(a, b, "ieee")[0, 0] == long


@triton.jit
def _copy(x, y, N: tl.constexpr):
    index = tl.program_id(0) * N + tl.arange(0, N)
    tl.store(y + index, tl.load(x + index))


def test_an_access_outside_of_the_buffers_is_refused():
    kernel = GpuKernel(
        "copy",
        (Parameter("x", "float32", (64,)), Parameter("y", "float32", (60,))),
        (
            Launch(
                _copy,
                (Grid(4), ONE, ONE),
                {"x": Pointer("x", "fp32"), "y": Pointer("y", "fp32")},
                {"N": 16},
            ),
        ),
    )
    with pytest.raises(IndexError, match="byte 240 of 240"):
        run(kernel, {"x": np.zeros(64, np.float32), "y": np.zeros(60, np.float32)}, {})


def test_a_launch_names_every_parameter_of_its_function():
    with pytest.raises(TypeError, match="takes \\(x, y, N\\)"):
        Launch(_copy, (ONE, ONE, ONE), {"x": Pointer("x", "fp32")}, {"N": 16})


def test_compiling_works_after_interpreting():
    run(toy_kernel(), _toy_buffers(3, 3), {"tokens": 3})
    assert tl.core.is_builtin(tl.load)
    assert not hasattr(_copy.fn.__globals__["np"], "interpreter_semantic")
    assert "interpreter_semantic" not in _copy.fn.__globals__
