"""In which arrays the interpreter computes, and where it rounds."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

import array_api_compat.numpy
import ml_dtypes
import numpy as np
from array_api_compat import (
    array_namespace,
    is_array_api_obj,  # pyright: ignore[reportUnknownVariableType]
    is_numpy_array,
)
from xdsl.dialects.builtin import BFloat16Type, Float32Type, TensorType
from xdsl.ir import Attribute

from sala_compile.sala_ir.interpreter.weight_rows import WeightValue
from sala_compile.sala_ir.reference import (
    LightningForm,
    Round,
    Rounding,
    exact,
    round_activations,
    to_bfloat16,
    to_float32,
)
from sala_compile.sala_ir.reference.arrays import Array
from sala_compile.sala_ir.reference.lightning import Recurrence

_is_array = cast(Callable[[Any], bool], is_array_api_obj)
"""The function itself: its type guard makes the type of its argument unknown."""

_SINGLE = (np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16))


@dataclass(frozen=True, slots=True)
class Numerics:
    """The namespace, element type and device of all values, and what the graph's types round.

    `namespace` is one of array-api-compat's, or any that follows the standard; `dtype` one of its
    element types, float64 by default. The first `wide_rows` rows that a linear reads stay as they
    are where the graph makes integers of them, so that one run shows what those cost. Where the
    rows of a step are `copies` of the same, no result of the first copy is rounded.
    """

    rounding: Rounding = Rounding.EXACT
    namespace: ModuleType = array_api_compat.numpy
    dtype: Any = None
    device: Any = None
    lightning: LightningForm | Recurrence = LightningForm.CHUNKED
    wide_rows: int = 0
    copies: int = 1

    @property
    def element(self) -> Any:
        """The element type that values are computed in."""
        return self.namespace.float64 if self.dtype is None else self.dtype

    def array(self, values: Any) -> Array:
        """Bring real values, a bfloat16 NumPy array included, to the computation's arrays."""
        if is_numpy_array(values) and values.dtype.kind not in "fiub":
            values = values.astype(np.float32)
        array: Any = values
        is_own = _is_array(array) and array_namespace(array) is self.namespace
        is_placed = self.device is None or (is_own and array.device == self.device)
        if not (is_own and is_placed):
            array = self.namespace.asarray(array, device=self.device)
        return self.namespace.astype(array, self.element, copy=False)

    def stored(self, values: Any) -> Array:
        """Rows of a weight as they are where float32 holds them, which is cheap to move and round;
        as the computation's arrays otherwise.
        """
        is_single = is_numpy_array(values) and values.dtype in _SINGLE
        return values if is_single else self.array(values)

    def weight(self, value: WeightValue) -> WeightValue:
        """A weight whose rows are the computation's arrays."""
        return value.map(self.array)

    def rounder(self, element: Attribute) -> Round:
        """The rounding to `element`; the identity if the computation is exact."""
        if self.rounding is Rounding.EXACT:
            return exact
        return to_bfloat16 if isinstance(element, BFloat16Type) else to_float32

    def operand_rounder(self, element: Attribute) -> Round:
        """The rounding of q and the probabilities for a cache of `element`: bfloat16 or none."""
        return self.rounder(element) if isinstance(element, BFloat16Type) else exact

    def activations(self, x: Array, group: int) -> Array:
        """The operands of a linear: integers of 8 bits in groups, unless `group` is 0."""
        if not group or self.wide_rows >= x.shape[0]:
            return x
        wide, rest = x[: self.wide_rows, :], x[self.wide_rows :, :]
        rounded = round_activations(rest, group=group)
        return array_namespace(x).concat([wide, rounded], axis=0) if self.wide_rows else rounded

    def rounded(self, kind: Attribute, value: Any) -> Any:
        """Round a result to its type, if that is a tensor of real numbers."""
        element = cast(Attribute, kind.element_type) if isinstance(kind, TensorType) else None
        is_real = isinstance(element, Float32Type | BFloat16Type)
        if not is_real:
            return value
        exact_rows = value.shape[0] // self.copies if self.copies > 1 else 0
        found = self.rounder(element)(value[exact_rows:, ...])
        if not exact_rows:
            return found
        return array_namespace(value).concat([value[:exact_rows, ...], found], axis=0)
