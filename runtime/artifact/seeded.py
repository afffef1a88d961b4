"""Weights that no file holds: made from a seed when a model is loaded, the same on every machine.

They are for capacity planning and measurements; a model of them computes noise.
"""

import mmap
from contextlib import suppress
from math import prod
from typing import Literal
from zlib import crc32

import numpy as np
from pydantic import Field, NonNegativeInt, model_validator

from sala_compile.runtime.artifact.format_model import ElementType, Frozen, align
from sala_compile.runtime.artifact.golden import narrow_bfloat16
from sala_compile.runtime.common.safetensors_format import StoredTensor, TensorSpec
from sala_compile.runtime.errors import ArtifactError

WARNING = "random weights, for planning and measurements: what the model computes is noise"
SEEDED = "seeded"
"""In the place of a weight file's name."""
PERIOD = (1 << 20) + 7
"""Values before a tensor repeats itself, from another place on: coprime to the sizes of rows."""
BELL = 4
"""Uniform numbers whose sum is taken for a normal one: exact, so equal everywhere."""
_UNIT = np.sqrt(12 / BELL) / 65536
"""The sum of `BELL` numbers below 65536 has this inverse standard deviation."""


class Fill(Frozen):
    """One stored tensor: `normal` of standard deviation `value`, any `bits`, or `constant` value.

    `element` is what the values are rounded to; the bits of bfloat16 and float16 are stored as
    uint16.
    """

    kind: Literal["normal", "bits", "constant"]
    element: Literal["bfloat16", "float16", "float32", "uint8", "uint16", "int32"]
    shape: tuple[NonNegativeInt, ...]
    value: float = Field(default=0.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _kind_fits(self) -> "Fill":
        if (self.kind == "bits") != ("int" in self.element):
            raise ValueError(f"{self.element} is not filled with {self.kind}")
        return self

    @property
    def spec(self) -> TensorSpec:
        """The tensor as a weight file would name it."""
        return TensorSpec("", _STORED[self.element], self.shape)


_STORED = {
    "bfloat16": "BF16",
    "float16": "F16",
    "float32": "F32",
    "uint8": "U8",
    "uint16": "U16",
    "int32": "I32",
}


class SeededWeights(Frozen):
    """The stored tensors of a model by name, in place of weight files."""

    seed: int = Field(ge=0)
    fills: dict[str, Fill]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors, each aligned."""
        return sum(align(fill.spec.nbytes) for fill in self.fills.values())

    def places(self) -> dict[str, tuple[str, StoredTensor]]:
        """The tensors as weight files would list them: a file, a type and a shape."""
        return {
            name: (SEEDED, StoredTensor(TensorSpec(name, fill.spec.dtype, fill.shape), 0))
            for name, fill in self.fills.items()
        }


class SeededTensors:
    """Makes tensors, each in anonymous memory of its own; `nbytes` are those made so far."""

    def __init__(self, weights: SeededWeights) -> None:
        """Draw the numbers that all tensors are made of."""
        self.nbytes = 0
        self._weights = weights
        self._raw = np.random.Philox(key=weights.seed).random_raw(PERIOD)

    def array(self, name: str) -> np.ndarray:
        """A tensor; bfloat16 and float16 as uint16. ArtifactError if the memory is refused."""
        fill = self._weights.fills[name]
        size = align(fill.spec.nbytes)
        try:
            memory = mmap.mmap(-1, max(1, size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, ValueError, OverflowError) as error:
            raise ArtifactError(
                f"the system refuses {size} bytes for a weight: {error}",
                where=name,
                fix="load on a machine with more memory",
            ) from error
        with suppress(OSError, AttributeError):  # a kernel without huge pages
            memory.madvise(mmap.MADV_HUGEPAGE)
        self.nbytes += size
        dtype = ElementType(_HELD[fill.element]).numpy
        flat = np.frombuffer(memory, dtype, prod(fill.shape))
        _repeat(_period(fill, self._raw, dtype), flat, start=crc32(name.encode()) % PERIOD)
        return flat.reshape(fill.shape)


_HELD = {
    "bfloat16": "uint16",
    "float16": "uint16",
    "float32": "float32",
    "uint8": "uint8",
    "uint16": "uint16",
    "int32": "int32",
}


def _period(fill: Fill, raw: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The values of a tensor before they repeat."""
    if fill.kind == "bits":
        return raw.astype(dtype)  # the low bits
    if fill.kind == "constant":
        values = np.full(1, fill.value, np.float32)
    else:
        parts = raw.view(np.uint16).reshape(-1, BELL).sum(axis=1, dtype=np.int64)
        centred = parts - BELL * 65535 // 2
        values = (centred * (_UNIT * fill.value)).astype(np.float32)
    if fill.element == "bfloat16":
        return narrow_bfloat16(values)
    return values.astype(np.float16).view(np.uint16) if fill.element == "float16" else values


def _repeat(period: np.ndarray, out: np.ndarray, *, start: int) -> None:
    """Fill `out` with the period again and again, each time from another place on."""
    if len(period) == 1:
        out[...] = period
        return
    position = 0
    while position < len(out):
        piece = period[start : start + len(out) - position]
        out[position : position + len(piece)] = piece
        position += len(piece)
        start = (start * 5 + 12345) % len(period)
