"""bfloat16 in Triton's interpreter, which keeps it as 16-bit words and computes with the words.

Products, sums and comparisons are computed in float32 and rounded to nearest even, as a GPU does;
what a GPU has no instruction for is refused. Products of matrices are summed in float64 and rounded
once, so that a row does not depend on where a library puts it; factors of TF32 lose their low bits.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import triton.language as tl
from triton._C.libtriton import ir
from triton.runtime import interpreter

from sala_compile.runtime.artifact import narrow_bfloat16, widen_bfloat16

Builder = interpreter.InterpreterBuilder
Handle = interpreter.TensorHandle

_cast, _binary, _unary = Builder.cast_impl, Builder.binary_op, Builder.unary_op
_dot, _fma, _round = Builder.create_dot, Builder.create_fma, Builder.create_fp_to_fp
_reduce = interpreter.ReduceScanOpInterface.apply


def _is_bfloat16(kind: Any) -> bool:
    return kind.scalar == tl.bfloat16


def _wide(handle: Any) -> Any:
    if not _is_bfloat16(handle.dtype):
        return handle
    return Handle(widen_bfloat16(np.ascontiguousarray(handle.data)), tl.float32)


def _narrow(values: np.ndarray) -> Any:
    return Handle(narrow_bfloat16(np.ascontiguousarray(values, np.float32)), tl.bfloat16)


def _cast_impl(self: Any, source: Any, kind: Any) -> Any:
    if _is_bfloat16(source.dtype) == _is_bfloat16(kind):
        return _cast(self, source, kind)
    if _is_bfloat16(kind):
        return _narrow(source.data)
    return _cast(self, _wide(source), kind)


def _binary_op(self: Any, left: Any, right: Any, op: Callable[..., Any]) -> Any:
    if not _is_bfloat16(left.dtype):
        return _binary(self, left, right, op)
    result = op(_wide(left).data, _wide(right).data)
    return Handle(result, tl.int1) if result.dtype == np.bool_ else _narrow(result)


def _unary_op(self: Any, value: Any, op: Callable[..., Any]) -> Any:
    if not _is_bfloat16(value.dtype):
        return _unary(self, value, op)
    if op is not np.negative:
        raise TypeError(f"{op} of bfloat16: cast to float32 first")
    return _narrow(op(_wide(value).data))


TF32_DROPPED = 13
"""Low bits of a float32 that a GPU does not read of a factor of TF32: it rounds nothing."""


def _create_dot(self: Any, a: Any, b: Any, d: Any, precision: Any, *options: Any) -> Any:
    left, right = _wide(a), _wide(b)
    if not all(each.data.dtype == np.float32 for each in (left, right, d)):
        return _dot(self, left, right, d, precision, *options)
    factors = [_factor(each, precision) for each in (left, right)]
    total = np.matmul(*factors) + d.data
    return Handle(total.astype(np.float32), d.dtype.scalar)


def _factor(handle: Any, precision: Any) -> np.ndarray:
    """What a matrix instruction reads of a factor, exact in float64."""
    values = handle.data
    if precision == ir.INPUT_PRECISION.TF32:
        words = np.ascontiguousarray(values).view(np.uint32)
        values = (words >> TF32_DROPPED << TF32_DROPPED).view(np.float32)
    return values.astype(np.float64)


def _create_fma(self: Any, x: Any, y: Any, z: Any) -> Any:
    if not _is_bfloat16(z.dtype):
        return _fma(self, x, y, z)
    return _narrow(_fma(self, _wide(x), _wide(y), _wide(z)).data)


def _create_fp_to_fp(self: Any, source: Any, kind: Any, rounding: Any) -> Any:
    if _is_bfloat16(source.dtype) or _is_bfloat16(kind):
        return _cast_impl(self, source, kind)
    return _round(self, source, kind, rounding)


def _apply(self: Any, values: Any) -> Any:
    if any(
        _is_bfloat16(each.dtype) for each in (values if isinstance(values, tuple) else [values])
    ):
        raise TypeError("a reduction of bfloat16: cast to float32 first")
    return _reduce(self, values)


PATCHES: tuple[tuple[Any, str, Any], ...] = (
    (Builder, "cast_impl", _cast_impl),
    (Builder, "binary_op", _binary_op),
    (Builder, "unary_op", _unary_op),
    (Builder, "create_dot", _create_dot),
    (Builder, "create_fma", _create_fma),
    (Builder, "create_fp_to_fp", _create_fp_to_fp),
    (interpreter.ReduceScanOpInterface, "apply", _apply),
)
"""What to set on the interpreter while it runs: (class, attribute, value)."""
