"""`golden.json`: steps of the model that show on any machine that an artifact is right there.

A step runs a ragged batch of sequences at once. Those with a history begin with a state that is
drawn by its seed, the same numbers on every machine, so that none is stored. The expected
values are the logits, on every target, and what single kernels of a target write. The named tensors
are in `golden.safetensors`.
"""

from math import prod
from typing import Annotated, Literal
from zlib import crc32

import numpy as np
from pydantic import Field

from sala_compile.runtime.artifact.format_model import ElementType, Frozen
from sala_compile.runtime.artifact.program import PhaseName

GoldenType = Literal["float32", "bfloat16", "int32"]
"""Element type of a tensor: bfloat16 is passed to kernels as uint16."""
Tolerance = Annotated[float, Field(ge=0, allow_inf_nan=False)]
History = Annotated[int, Field(ge=0, le=2**17)]
"""Tokens of a drawn state: selections of 2048 blocks of 64 are within that."""
_STEP = 2.0**-24
_WIDTH = 12**0.5
"""Width of the interval around 0 over which uniform numbers have a variance of 1."""


class GoldenSequence(Frozen):
    """New tokens of a sequence after `history` tokens whose state is drawn.

    `token_ids` is int32 [tokens], `logits` float32 [rows, vocabulary] of the last tokens;
    `absolute` bounds their largest difference. `call_length` is the length of the sequence when its
    call is done.
    """

    name: str
    token_ids: str
    logits: str
    absolute: Tolerance
    history: History = 0
    call_length: int = Field(default=0, ge=0, lt=2**31)


class Expected(Frozen):
    """What a kernel writes: |found - tensor| <= absolute + relative * |tensor|.

    The extents of the tensor say which leading part of the value is compared. A value that is
    not finite, found or expected, is a failure.
    """

    tensor: str
    absolute: Tolerance = 0.0
    relative: Tolerance = 0.0


class KernelVector(Frozen):
    """A step of a target's program, the first that calls `kernel`.

    Before it the activations `given` get the reference's values, after it those of `expected` are
    compared; `states` has the new rows of pools that it writes, one tensor for each sequence.
    """

    name: str
    kernel: str
    target: str = "cpu"
    phase: PhaseName
    step: int = Field(ge=0)
    given: dict[str, str] = Field(default_factory=dict)
    expected: dict[str, Expected] = Field(default_factory=dict)
    states: dict[str, tuple[Expected, ...]] = Field(default_factory=dict)


class Golden(Frozen):
    """The sequences of one step of an artifact, and what its kernels compute in it."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    sequences: tuple[GoldenSequence, ...] = ()
    kernels: tuple[KernelVector, ...] = ()


def seeded_rows(
    seed: int, pool: str, sequence: int, shape: tuple[int, ...], *, narrow: bool
) -> np.ndarray:
    """float32 numbers of variance 1 around 0 for the rows of a pool that hold a drawn state.

    They are uniform, from Philox, and exact in bfloat16 if `narrow`.
    """
    raw = _random_bits(seed, pool, sequence, shape)
    unit = (raw >> np.uint64(40)).astype(np.float64) * _STEP
    values = ((unit - 0.5) * _WIDTH).astype(np.float32)
    return widen_bfloat16(narrow_bfloat16(values)) if narrow else values


def drawn_rows(
    seed: int,
    pool: str,
    sequence: int,
    shape: tuple[int, ...],
    element: ElementType,
    unit: float = 1.0,
) -> np.ndarray:
    """Rows of a pool that hold a drawn state: any int32 bits, or numbers about as large as `unit`.

    Numbers are float32, exact in the `element` of the pool.
    """
    if element is ElementType.INT32:
        return _random_bits(seed, pool, sequence, shape).astype(np.uint32).view(np.int32)
    narrow = element is ElementType.UINT16
    rows = seeded_rows(seed, pool, sequence, shape, narrow=narrow) * np.float32(unit)
    return widen_bfloat16(narrow_bfloat16(rows)) if narrow else rows


def _random_bits(seed: int, pool: str, sequence: int, shape: tuple[int, ...]) -> np.ndarray:
    """uint64 of a shape."""
    key = np.array([seed, crc32(f"{pool} {sequence}".encode())], np.uint64)
    return np.random.Philox(key=key).random_raw(prod(shape)).reshape(shape)


def narrow_bfloat16(values: np.ndarray) -> np.ndarray:
    """float32 to the bits of bfloat16 (uint16), rounded to nearest even; NaN stays NaN."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(values), np.uint32(0x7FC0), rounded).astype(np.uint16)


def widen_bfloat16(bits: np.ndarray) -> np.ndarray:
    """The bits of bfloat16 (uint16) as float32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
