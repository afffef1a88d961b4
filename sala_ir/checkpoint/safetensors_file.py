"""One safetensors file: its header, checked before any data is read, and its data by pieces.

A file is 8 bytes of header length, a JSON header, and the data of all tensors without gaps.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from sala_compile.runtime.common.files import FileRule, shown
from sala_compile.runtime.common.git_lfs import PREFIX, refuse_pointer
from sala_compile.runtime.common.json_text import JsonLimits, parse_object, quoted
from sala_compile.runtime.errors import CheckpointError

HEADER = JsonLimits(size=100_000_000, depth=8)
"""What a header may have."""
RANK = 16
"""Dimensions of a tensor."""
WEIGHTS = FileRule(
    what="the weights file", error=CheckpointError, fix="download or write the file again"
)
"""How files of tensors are opened."""

ELEMENTS = {
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    "I8": np.dtype(np.int8),
    "I16": np.dtype(np.int16),
    "I32": np.dtype(np.int32),
    "I64": np.dtype(np.int64),
    "U8": np.dtype(np.uint8),
    "U16": np.dtype(np.uint16),
    "U32": np.dtype(np.uint32),
    "U64": np.dtype(np.uint64),
    "BOOL": np.dtype(np.bool_),
}
"""Element types of the format as NumPy has them."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies: `begin` is the offset in the file of its first byte."""

    name: str
    path: Path
    element: str
    shape: tuple[int, ...]
    begin: int

    @property
    def dtype(self) -> np.dtype:
        """The element type in NumPy."""
        return ELEMENTS[self.element]

    @property
    def size(self) -> int:
        """Bytes of data."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def row_bytes(self) -> int:
        """Bytes of one row (of one element, where there is one dimension)."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def error(self, found: str, *, expected: str | None = None) -> CheckpointError:
        """An error that names this tensor and its file."""
        return CheckpointError(found, where=_place(self.path, self.name), expected=expected)


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a file by name; `CheckpointError` where the file is damaged."""
    try:
        with WEIGHTS.open(path) as file:
            total = os.fstat(file.fileno()).st_size
            refuse_pointer(os.pread(file.fileno(), len(PREFIX), 0), shown(path), CheckpointError)
            length = _header_length(path, file.read(8), total)
            raw = file.read(length)
    except OSError as error:
        raise _damaged(path, f"the file cannot be read: {error.strerror}") from None
    where, fix = f"{shown(path)}: header", WEIGHTS.fix or ""
    entries = parse_object(raw, where, CheckpointError, fix=fix, limits=HEADER)
    entries.pop("__metadata__", None)
    data = 8 + length
    tensors = {name: _tensor(path, name, entry, data) for name, entry in entries.items()}
    _check_ranges(path, [(*_offsets(entries[name]), name) for name in tensors], total - data)
    return tensors


def read_into(tensor: StoredTensor, file: int, start: int, stop: int) -> np.ndarray:
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


def _damaged(path: Path, found: str, expected: str | None = None) -> CheckpointError:
    return CheckpointError(found, where=shown(path), expected=expected, fix=WEIGHTS.fix)


def _header_length(path: Path, prefix: bytes, total: int) -> int:
    if len(prefix) < 8:
        raise _damaged(path, f"the file has {total} bytes", "a safetensors file")
    length = int.from_bytes(prefix, "little")
    if length > min(total - 8, HEADER.size):
        raise _damaged(
            path, f"the file has {total} bytes and names a header of {length}", "a whole header"
        )
    return length


def _tensor(path: Path, name: str, entry: Any, data: int) -> StoredTensor:
    where = _place(path, name)
    if not _is_entry(entry):
        raise CheckpointError(
            "the header's entry is malformed", where=where, expected="dtype, shape, data_offsets"
        )
    if entry["dtype"] not in ELEMENTS:
        raise CheckpointError(
            f"element type {quoted(entry['dtype'])} is not known",
            where=where,
            expected="BF16, F16 or F32",
        )
    begin, end = _offsets(entry)
    tensor = StoredTensor(name, path, entry["dtype"], tuple(entry["shape"]), data + begin)
    if end - begin != tensor.size:
        raise tensor.error(
            f"the header gives {end - begin} bytes to shape {list(tensor.shape)}",
            expected=f"{tensor.size} bytes",
        )
    return tensor


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        return False
    offsets = entry.get("data_offsets")
    has_range = isinstance(offsets, list) and len(offsets) == 2 and _is_sizes(offsets, most=2)
    return has_range and _is_sizes(entry.get("shape"), most=RANK)


def _is_sizes(values: Any, most: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) <= most
        and all(type(value) is int and value >= 0 for value in values)
    )


def _place(path: Path, name: str) -> str:
    return f"{shown(path)}: {shown(name)}"


def _offsets(entry: dict[str, Any]) -> tuple[int, int]:
    begin, end = entry["data_offsets"]
    return begin, end


def _check_ranges(path: Path, ranges: list[tuple[int, int, str]], available: int) -> None:
    """Refuse data that overlap, leave gaps, or do not fill the file exactly."""
    position = 0
    for begin, end, name in sorted(ranges):
        where = _place(path, name)
        if begin < position:
            raise CheckpointError("the tensor overlaps another one", where=where)
        if begin > position:
            raise CheckpointError(f"{begin - position} bytes before it are unused", where=where)
        if end > available:
            raise CheckpointError(
                f"the file is truncated: it has {available} bytes of data",
                where=where,
                expected=f"{max(end for _, end, _ in ranges)} bytes",
                fix=WEIGHTS.fix,
            )
        position = end
    if position != available:
        raise _damaged(
            path, f"the file has {available} bytes of data", f"{position} bytes, as its header says"
        )
