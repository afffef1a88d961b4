"""Rounding points: where a value is rounded to the element type that the graph declares.

`EXACT` computes in the element type of the arrays alone: with float64 it is the meaning of the
dialect. `ROUNDED` rounds each value to its declared element type, as kernels do, and keeps it in
the arrays that the computation runs in. Rounding to bfloat16 passes through float32, to nearest
and ties to even; a namespace with automatic differentiation passes gradients straight through.
"""

from collections.abc import Callable
from enum import Enum
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
from array_api_compat import array_namespace, is_numpy_namespace

from sala_compile.sala_ir.reference.arrays import Array

Round = Callable[[Array], Array]
"""Rounds values and returns them in the element type of the array given."""


class Rounding(Enum):
    """Whether the element types of the graph round the values of a computation."""

    EXACT = "exact"
    ROUNDED = "rounded"


def exact(x: Array) -> Array:
    """Return the values as they are."""
    return x


def to_float32(x: Array) -> Array:
    """Round every value to float32."""
    xp = array_namespace(x)
    if x.dtype in (xp.float32, _bfloat16(xp)):
        return x
    return xp.astype(xp.astype(x, xp.float32), x.dtype)


def to_float16(x: Array) -> Array:
    """Round every value to float16, in which scales of integer encodings are stored."""
    xp = array_namespace(x)
    return xp.astype(xp.astype(x, xp.float16), x.dtype)


def to_bfloat16(x: Array) -> Array:
    """Round every value to bfloat16, to nearest and ties to even."""
    xp = array_namespace(x)
    bfloat16 = _bfloat16(xp)
    if x.dtype == bfloat16:
        return x
    single = xp.astype(xp.astype(x, xp.float32, copy=False), bfloat16)
    return xp.astype(xp.astype(single, xp.float32), x.dtype, copy=False)


def _bfloat16(xp: ModuleType) -> Any:
    """The type bfloat16 of a namespace; NumPy has it from elsewhere."""
    return np.dtype(ml_dtypes.bfloat16) if is_numpy_namespace(xp) else xp.bfloat16
