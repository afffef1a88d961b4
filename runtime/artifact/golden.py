"""`golden.json`: vectors that show on any machine that an artifact computes what it should.

The tensors that it names lie in `golden.safetensors`.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, FiniteFloat, PositiveInt

from sala_compile.runtime.artifact.base import Frozen

GoldenType = Literal["float32", "bfloat16", "int32", "int64", "uint32", "uint16", "uint8", "int8"]
"""Logical element type; bfloat16 is handed to kernels as uint16."""
Extent = Annotated[int, Field(ge=0, lt=2**40)]
Word = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Tolerance = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class StoredArgument(Frozen):
    """An input whose values are stored under `tensor`."""

    source: Literal["tensor"] = "tensor"
    tensor: str


class WeightArgument(Frozen):
    """An input that is the artifact's own stored weight `tensor`."""

    source: Literal["weight"] = "weight"
    tensor: str


class RandomArgument(Frozen):
    """An input drawn uniformly from [low, high) by Philox: the same numbers on every machine."""

    source: Literal["random"] = "random"
    seed: int = Field(ge=0, lt=2**64)
    dtype: GoldenType
    shape: tuple[Extent, ...]
    low: FiniteFloat = -1.0
    high: FiniteFloat = 1.0


class LiteralArgument(Frozen):
    """A small input, its elements in row-major order; one element fills the whole shape."""

    source: Literal["literal"] = "literal"
    dtype: GoldenType
    shape: tuple[Extent, ...]
    values: tuple[float | int, ...]


class ThreadsArgument(Frozen):
    """The control tensor: `values` with the number of threads of this machine put at index 3."""

    source: Literal["control"] = "control"
    values: tuple[Word, ...]


class ScratchArgument(Frozen):
    """A workspace [threads, columns]: poisoned before the call, not compared after it."""

    source: Literal["scratch"] = "scratch"
    dtype: GoldenType
    columns: PositiveInt


Initial = Annotated[
    StoredArgument | RandomArgument | LiteralArgument, Field(discriminator="source")
]


class OutputArgument(Frozen):
    """A buffer that the kernel writes; it starts as `initial` (in place) or as poison.

    The stored `expected` has the same rank; its extents say which leading part is compared. Not
    compared is what is NaN in `initial` and in `expected`: memory that the kernel leaves alone.
    |found - expected| <= absolute + relative * |expected|; any other value that is no finite
    number, found or expected, is a failure, and so is a vector in which nothing is compared.
    Integers are compared exactly unless `absolute` says otherwise.
    """

    source: Literal["output"] = "output"
    dtype: GoldenType
    shape: tuple[Extent, ...]
    expected: str
    initial: Initial | None = None
    absolute: Tolerance = 0.0
    relative: Tolerance = 0.0


Argument = Annotated[
    StoredArgument
    | WeightArgument
    | RandomArgument
    | LiteralArgument
    | ThreadsArgument
    | ScratchArgument
    | OutputArgument,
    Field(discriminator="source"),
]


class KernelVector(Frozen):
    """One call of one kernel of a target's library."""

    name: str
    kernel: str
    target: str = "cpu"
    arguments: tuple[Argument, ...]


class ModelVector(Frozen):
    """A short input: `token_ids` [tokens] int32 and the `logits` [rows, vocabulary] float32.

    With fewer rows than tokens, the rows are those of the last tokens. `absolute` bounds the
    largest difference.
    """

    name: str
    token_ids: str
    logits: str
    absolute: Tolerance


class Golden(Frozen):
    """All vectors of an artifact."""

    models: tuple[ModelVector, ...] = ()
    kernels: tuple[KernelVector, ...] = ()


def seeded_values(argument: RandomArgument) -> np.ndarray:
    """The values of a random argument; bfloat16 comes as float32 rounded to bfloat16."""
    count = int(np.prod(argument.shape, dtype=np.int64))
    raw = np.random.Philox(key=argument.seed).random_raw(count)
    unit = (raw >> np.uint64(40)).astype(np.float64) * 2.0**-24
    values = argument.low + (argument.high - argument.low) * unit
    if argument.dtype == "bfloat16":
        return widen_bfloat16(narrow_bfloat16(values.astype(np.float32))).reshape(argument.shape)
    if argument.dtype == "float32":
        return values.astype(np.float32).reshape(argument.shape)
    return np.floor(values).astype(argument.dtype).reshape(argument.shape)


def narrow_bfloat16(values: np.ndarray) -> np.ndarray:
    """float32 to the bits of bfloat16 (uint16), rounded to nearest even; NaN stays NaN."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(values), np.uint32(0x7FC0), rounded).astype(np.uint16)


def widen_bfloat16(bits: np.ndarray) -> np.ndarray:
    """The bits of bfloat16 (uint16) as float32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
