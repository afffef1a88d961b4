"""Device functions of single values that several kernels share; all in float32."""

import triton
import triton.language as tl


@triton.jit
def sigmoid(x):
    """1 / (1 + e^-x)."""
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def silu(x):
    """x / (1 + e^-x)."""
    return x / (1.0 + tl.exp(-x))


@triton.jit
def inverse_root(squares, COUNT: tl.constexpr, EPS: tl.constexpr):
    """1 / sqrt(squares / COUNT + EPS), each step correctly rounded."""
    return tl.div_rn(1.0, tl.sqrt_rn(squares / COUNT + EPS))


@triton.jit
def entry(index, TABLE: tl.constexpr, COUNT: tl.constexpr):
    """TABLE[index] of a tuple of COUNT constants, for an index or a tensor of them."""
    value = (index * 0).to(tl.float32)
    for i in tl.static_range(COUNT):  # type: ignore
        value = tl.where(index == i, TABLE[i], value)
    return value


@triton.jit
def squared(x):
    """x * x, rounded before anything is added to it.

    Threads that share a sum store it in one place; a product that enters it unrounded would give
    each of them another last bit.
    """
    return tl.fma(x, x, 0.0)
