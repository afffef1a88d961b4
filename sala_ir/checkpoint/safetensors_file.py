"""The tensors of a checkpoint's file: where they lie, and their rows.

The header is checked before any data is read.
"""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

from sala_compile.runtime.common.files import FileRule, shown
from sala_compile.runtime.common.git_lfs import PREFIX, refuse_pointer
from sala_compile.runtime.common.json_text import JsonLimits
from sala_compile.runtime.common.safetensors_format import (
    STORED_TYPES,
    HeaderRule,
    read_tensors,
)
from sala_compile.runtime.errors import CheckpointError

WEIGHTS = FileRule(
    what="the weights file", error=CheckpointError, fix="download or write the file again"
)
"""How files of tensors are opened."""
RULE = HeaderRule(
    error=CheckpointError,
    fix="download or write the file again",
    limits=JsonLimits(size=100_000_000, depth=8),
)
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
PIECE_BYTES = 1 << 24
"""Bytes that are read at once where a tensor is hashed or compared."""
WEIGHT_ELEMENTS = ("BF16", "F16", "F32")
"""Element types that weights may have."""


@dataclass(frozen=True, slots=True)
class CheckpointTensor:
    """Where a tensor lies: `begin` is the offset in the file of its first byte."""

    name: str
    path: Path
    element: str
    shape: tuple[int, ...]
    begin: int

    @property
    def dtype(self) -> np.dtype:
        """The element type in NumPy."""
        return BFLOAT16 if self.element == "BF16" else STORED_TYPES[self.element]

    @property
    def size(self) -> int:
        """Bytes of data."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def row_bytes(self) -> int:
        """Bytes of one row (of one element, where there is one dimension)."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def holds_values(self) -> bool:
        """Whether the elements are of a type that weights may have."""
        return self.element in WEIGHT_ELEMENTS

    def read(self, file: int, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) from an open file descriptor, in memory of their own."""
        return read_into(self, file, start, stop)

    def pieces(self, descriptor: Callable[[Path], int]) -> Iterator[bytes]:
        """All stored bytes in order, a piece at a time; `descriptor` opens a file."""
        file, position, end = descriptor(self.path), self.begin, self.begin + self.size
        while position < end:
            piece = os.pread(file, min(PIECE_BYTES, end - position), position)
            if not piece:
                raise self.error("the file ends within the tensor")
            yield piece
            position += len(piece)

    def error(self, found: str, *, expected: str | None = None) -> CheckpointError:
        """An error that names this tensor and its file."""
        where = f"{shown(self.path)}: {shown(self.name)}"
        return CheckpointError(found, where=where, expected=expected)


def read_header(path: Path) -> dict[str, CheckpointTensor]:
    """Return the tensors of a file by name; `CheckpointError` where the file is damaged."""
    where = shown(path)
    try:
        with WEIGHTS.open(path) as file:
            descriptor = file.fileno()
            refuse_pointer(os.pread(descriptor, len(PREFIX), 0), where, CheckpointError)
            found = read_tensors(
                lambda offset, count: os.pread(descriptor, count, offset),
                os.fstat(descriptor).st_size,
                where,
                RULE,
            )
    except OSError as error:
        raise RULE.refuse(f"the file cannot be read: {error.strerror}", where) from None
    return {
        name: CheckpointTensor(
            name, path, tensor.spec.dtype, _matrix(tensor.spec.shape), tensor.offset
        )
        for name, tensor in found.items()
    }


def _matrix(shape: tuple[int, ...]) -> tuple[int, ...]:
    """[C, 1, K], as filters of single columns are written, is the matrix [C, K].

    [1, 1, H, 1], as numbers of heads are written, is the vector [H].
    """
    if len(shape) == 4 and max(shape) == math.prod(shape):
        return (max(shape),)
    return (shape[0], shape[2]) if len(shape) == 3 and shape[1] == 1 else shape


def read_into(tensor: CheckpointTensor, file: int, start: int, stop: int) -> np.ndarray:
    """Read rows [start, stop) from an open file descriptor into a new array."""
    rows = np.empty((stop - start, *tensor.shape[1:]), tensor.dtype)
    target = rows.reshape(-1).view(np.uint8).data
    position, done = tensor.begin + start * tensor.row_bytes, 0
    while done < len(target):
        count = os.preadv(file, [target[done:]], position + done)
        if count == 0:
            raise tensor.error("the file ends within the tensor", expected="the whole tensor")
        done += count
    return rows
