"""Functions of vectors: each is one call of a shim (shims.py), computed in float32."""

from typing import Any

from sala_compile.codegen.kernels.tir.builder import LANES, Expr, Tensor, lanes, let
from sala_compile.codegen.kernels.tir.ir import T

FLOATS = f"float32x{LANES}"
HALVES = f"uint16x{LANES}"


def _call(name: str, *arguments: Any, result: str = FLOATS) -> Expr:
    return T.call_pure_extern(result, f"sala_{name}", *arguments)


def fma(a: Expr, b: Expr, c: Expr) -> Expr:
    """Return a * b + c, rounded once where the target can."""
    return _call("fma", a, b, c)


def maximum(a: Expr, b: Expr) -> Expr:
    """Return the larger of each pair; `b` where one is NaN."""
    return _call("max", a, b)


def exp(x: Expr) -> Expr:
    """Return e^x to 2 ulp: exactly 0 below -87.33, exactly 1 at 0, constant above 88.37."""
    return _call("exp", x)


def exp2(x: Expr) -> Expr:
    """Return 2^x to 3 ulp: 0 far below -127, exactly 1 at 0, infinite from 128 on."""
    return _call("exp2", x)


def scaled(x: Expr, n: Expr) -> Expr:
    """Return x 2^n for whole n, 0 if n is far below -127, infinite if n is large."""
    return _call("scaled", x, n)


def floor(x: Expr) -> Expr:
    """Return the largest whole number that is not above x."""
    return _call("floor", x)


def sigmoid(x: Expr) -> Expr:
    """Return 1 / (1 + e^-x)."""
    return _call("sigmoid", x)


def silu(x: Expr) -> Expr:
    """Return x / (1 + e^-x)."""
    return _call("silu", x)


def sine(x: Expr) -> Expr:
    """Return sin x, rounded once, for |x| up to 2^20."""
    return _call("sin", x)


def cosine(x: Expr) -> Expr:
    """Return cos x, rounded once, for |x| up to 2^20."""
    return _call("cos", x)


def log(x: Expr) -> Expr:
    """Return ln x, rounded once, for normal x above 0."""
    return _call("log", x)


def total(x: Expr) -> Expr:
    """Return the sum of the 16 lanes (a scalar), folding halves: one fixed order."""
    return _call("sum", x, result="float32")


def largest(x: Expr) -> Expr:
    """Return the largest of the 16 lanes (a scalar)."""
    return _call("largest", x, result="float32")


def to_bf16(x: Expr) -> Expr:
    """Round to the nearest bf16, ties to even; denormals become zeros (as AVX512_BF16 does)."""
    return _call("to_bf16", x, result=HALVES)


def from_bf16(x: Expr) -> Expr:
    """Widen 16 bf16 values."""
    return _call("from_bf16", x)


def from_f16(x: Expr) -> Expr:
    """Widen 16 finite float16 values."""
    return _call("from_f16", x)


def dot_i16(accumulator: Expr, a: Expr, b: Expr) -> Expr:
    """Return accumulator + the products of 16 pairs of 16-bit integers, in 32 bits."""
    return _call("dot_i16", accumulator, a, b, result=f"int32x{LANES}")


def dot_bytes(accumulator: Expr, a: Expr, b: Expr, *, bits: int = 8) -> Expr:
    """Return accumulator + the products of 16 times four bytes, in 32 bits: exact.

    `a` are unsigned integers of `bits` in bytes, `b` signed ones.
    """
    return _call("dot_u6" if bits <= 6 else "dot_u8", accumulator, a, b, result=f"int32x{LANES}")


def nearest_integers(x: Expr, factor: Expr) -> Expr:
    """Return x * factor, rounded to float32 and then to the nearest integer, below 2^22."""
    return _call("nearest_integers", x, factor, result=f"int32x{LANES}")


def narrow_bytes(x: Expr, *, step: int) -> Expr:
    """Return 16 integers as int8, in each 2 * `step` (2 or 4) those of even places first.

    Of 2 * 2 the order is 0, 2, 1, 3; of 2 * 4 it is 0, 4, 1, 5, 2, 6, 3, 7.
    """
    return _call(f"narrow_bytes_{step}", x, result=f"int8x{LANES}")


def spread_quad(tensor: Tensor, *indices: Expr) -> Expr:
    """Read four int8 and repeat them 16 times."""
    *rows, column = indices
    quad = T.reinterpret(tensor[(*rows, lanes(column, 4))], dtype="int32")
    return let(T.reinterpret(T.broadcast(quad, LANES), dtype=f"int8x{4 * LANES}"))


def spread_pair(tensor: Tensor, *indices: Expr) -> Expr:
    """Read two 16-bit values, as uint16, and repeat the pair 16 times."""
    *rows, column = indices
    pair = T.reinterpret(tensor[(*rows, lanes(column, 2))], dtype="uint32")
    return let(T.reinterpret(T.broadcast(pair, LANES), dtype=f"uint16x{2 * LANES}"))


def load_pairs_again(tensor: Tensor, *indices: Expr) -> Expr:
    """Read 16 pairs of 16-bit values by a read of its own, even if they were read before."""
    return let(
        T.call_extern(f"uint16x{2 * LANES}", "sala_load_pairs_again", tensor.address(*indices))
    )


def first_lanes(x: Expr, count: Expr, other: Expr) -> Expr:
    """Return the first `count` lanes of `x` and the rest of `other`."""
    if isinstance(count, int) and count >= LANES:
        return x
    return _call("first_lanes", x, _int32(count), other)


def load(tensor: Tensor, *indices: Expr, count: Expr = LANES) -> Expr:
    """Read `count` floats from an element on; the other lanes are 0 and are not touched."""
    return T.call_extern(FLOATS, "sala_load_f32", tensor.address(*indices), _int32(count))


def load_u16(tensor: Tensor, *indices: Expr, count: Expr = LANES) -> Expr:
    """Read `count` 16-bit values; the other lanes are 0 and are not touched."""
    return T.call_extern(HALVES, "sala_load_u16", tensor.address(*indices), _int32(count))


def store(tensor: Tensor, *indices: Expr, value: Expr, count: Expr = LANES) -> None:
    """Write the first `count` floats of a vector; nothing beyond is touched."""
    address = tensor.address(*indices)
    T.evaluate(T.call_extern("void", "sala_store_f32", address, _int32(count), value))


def store_u16(tensor: Tensor, *indices: Expr, value: Expr, count: Expr = LANES) -> None:
    """Write the first `count` 16-bit values of a vector; nothing beyond is touched."""
    address = tensor.address(*indices)
    T.evaluate(T.call_extern("void", "sala_store_u16", address, _int32(count), value))


def _int32(value: Expr) -> Expr:
    return T.int32(value) if isinstance(value, int) else T.Cast("int32", value)
