"""Weights that no file holds: made from a seed when a model is loaded, the same on every machine.

They are for capacity planning and measurements; a model of them computes noise.
"""

import mmap
from collections.abc import Iterable
from functools import cache
from math import prod
from typing import Literal

import numpy as np
from pydantic import Field, NonNegativeInt, model_validator

from runtime.artifact.base import Frozen, align
from runtime.artifact.golden import narrow_bfloat16
from runtime.artifact.tensors import StoredTensor, TensorSpec
from runtime.errors import ArtifactError

WARNING = "random weights, for planning and measurements: what the model computes is noise"
SEEDED = "seeded"
"""Stands where the name of a weight file stands."""
PERIOD = (1 << 20) + 7
"""Values before a tensor repeats itself, from another place on: prime to the sizes of rows."""
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

    @property
    def dtype(self) -> np.dtype:
        """What the values are held as: bfloat16 and float16 as uint16."""
        return np.dtype("uint16" if self.element.endswith("float16") else self.element)


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
        """Bytes of all tensors, each aligned as in a file."""
        return sum(align(fill.spec.nbytes) for fill in self.fills.values())

    def make(self, name: str, out: np.ndarray | None = None) -> np.ndarray:
        """A tensor, written into `out` or a new array; bfloat16 and float16 as uint16."""
        fill = self.fills[name]
        made = np.empty(fill.shape, fill.dtype) if out is None else out
        start = list(self.fills).index(name) * 7919 % PERIOD
        _repeat(_period(fill, _raw(self.seed)), made.reshape(-1), start=start)
        return made

    def places(self) -> dict[str, tuple[str, StoredTensor]]:
        """Every tensor and its place in the memory of all."""
        places: dict[str, tuple[str, StoredTensor]] = {}
        offset = 0
        for name, fill in self.fills.items():
            spec = TensorSpec(name, fill.spec.dtype, fill.shape)
            places[name] = SEEDED, StoredTensor(spec, offset)
            offset += align(spec.nbytes)
        return places


class SeededTensors:
    """Some of the tensors in one anonymous mapping, filled when it is made."""

    def __init__(self, weights: SeededWeights, names: Iterable[str]) -> None:
        """Take the memory and fill it."""
        sizes = {name: align(weights.fills[name].spec.nbytes) for name in names}
        self.nbytes = sum(sizes.values())
        try:
            self._map = mmap.mmap(-1, max(1, self.nbytes))
        except (OSError, ValueError, OverflowError) as error:
            raise ArtifactError(
                f"the system refuses {self.nbytes} bytes for weights: {error}",
                fix="load on a machine with more memory",
            ) from error
        self._arrays: dict[str, np.ndarray] = {}
        offset = 0
        for name, size in sizes.items():
            fill = weights.fills[name]
            flat = np.frombuffer(self._map, fill.dtype, prod(fill.shape), offset)
            self._arrays[name] = weights.make(name, flat.reshape(fill.shape))
            offset += size

    def array(self, name: str) -> np.ndarray:
        """A tensor; bfloat16 and float16 as uint16."""
        return self._arrays[name]


@cache
def _raw(seed: int) -> np.ndarray:
    return np.random.Philox(key=seed).random_raw(PERIOD)


def _period(fill: Fill, raw: np.ndarray) -> np.ndarray:
    """The values of a tensor before they repeat."""
    if fill.kind == "bits":
        return raw.astype(fill.dtype)  # the low bits
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
