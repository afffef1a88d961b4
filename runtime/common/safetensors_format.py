"""The safetensors format: tensors of a file, the reader and the writer of its header.

A file is 8 bytes of header length, a JSON header, and the data of all tensors without gaps. The
package `safetensors` reads and writes whole tensors; ours are streamed, mapped and refused by name.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from sala_compile.runtime.common.files import shown
from sala_compile.runtime.common.json_text import (
    JsonLimits,
    is_list,
    is_object,
    parse_object,
    quoted,
)
from sala_compile.runtime.errors import SalaError

STORED_TYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "BF16": np.dtype(np.uint16),
    "F16": np.dtype(np.float16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
"""safetensors names of element types, and NumPy's; bfloat16 is read as its bits."""
METADATA = "__metadata__"
RANK = 16
"""Dimensions of a tensor at most."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, safetensors element type (`F32`, `BF16`, ...) and shape of a stored tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return prod(self.shape) * STORED_TYPES[self.dtype].itemsize


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file; `offset` counts bytes from the start of the file."""

    spec: TensorSpec
    offset: int


@dataclass(frozen=True, slots=True)
class HeaderRule:
    """How a header is refused: the class of the error, what to do, and what a header may have."""

    error: type[SalaError]
    fix: str
    limits: JsonLimits

    def refuse(
        self, found: str, where: str, expected: str = "a whole safetensors file"
    ) -> SalaError:
        """The error for a file or a tensor."""
        return self.error(found, where=where, expected=expected, fix=self.fix)


def header_bytes(
    specs: Iterable[TensorSpec], alignment: int, metadata: Mapping[str, str] | None = None
) -> bytes:
    """The length and the header of a file of these tensors; data begins at the alignment."""
    entries: dict[str, Any] = {} if metadata is None else {METADATA: dict(metadata)}
    offset = 0
    for spec in specs:
        end = offset + spec.nbytes
        shape = list(spec.shape)
        entries[spec.name] = {"dtype": spec.dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % alignment)
    return len(text).to_bytes(8, "little") + text


def read_tensors(
    read_at: Callable[[int, int], bytes], size: int, where: str, rule: HeaderRule
) -> dict[str, StoredTensor]:
    """The tensors of a file of `size` bytes, by name in the order of its header.

    `read_at(offset, count)` reads the file. Every entry is checked against the size: tensors fill
    the file exactly, without overlap. Raises the error of the rule, with tensor and file.
    """
    length = _header_length(read_at(0, 8), size, where, rule)
    header, data = f"{where}: header", 8 + length
    entries = parse_object(read_at(8, length), header, rule.error, fix=rule.fix, limits=rule.limits)
    entries.pop(METADATA, None)
    places = {name: _place(name, entry, where, rule) for name, entry in entries.items()}
    _check_ranges(places, size - data, where, rule)
    return {name: StoredTensor(spec, data + begin) for name, (spec, begin) in places.items()}


def _header_length(prefix: bytes, size: int, where: str, rule: HeaderRule) -> int:
    if size < 8:
        raise rule.refuse(f"the file has {size} bytes", where, "a safetensors file")
    length = int.from_bytes(prefix, "little")
    if length > min(size - 8, rule.limits.size):
        found = f"the file has {size} bytes and names a header of {length}"
        raise rule.refuse(found, where, f"a header of at most {min(size - 8, rule.limits.size)}")
    return length


def _place(name: str, entry: Any, where: str, rule: HeaderRule) -> tuple[TensorSpec, int]:
    """A tensor and its first byte in the data."""
    where = f"{where}: {shown(name)}"
    if not _is_entry(entry):
        raise rule.refuse("the header's entry is malformed", where, "dtype, shape, data_offsets")
    if entry["dtype"] not in STORED_TYPES:
        found = f"element type {quoted(entry['dtype'])} is not known"
        raise rule.refuse(found, where, ", ".join(STORED_TYPES))
    begin, end = entry["data_offsets"]
    spec = TensorSpec(name, entry["dtype"], tuple(entry["shape"]))
    if end - begin != spec.nbytes:
        found = f"the header gives {end - begin} bytes to shape {list(spec.shape)}"
        raise rule.refuse(found, where, f"{spec.nbytes} bytes")
    return spec, begin


def _is_entry(entry: Any) -> bool:
    if not is_object(entry) or not isinstance(entry.get("dtype"), str):
        return False
    offsets = entry.get("data_offsets")
    has_range = is_list(offsets) and len(offsets) == 2 and _is_sizes(offsets, most=2)
    return has_range and _is_sizes(entry.get("shape"), most=RANK)


def _is_sizes(values: Any, most: int) -> bool:
    return (
        is_list(values)
        and len(values) <= most
        and all(type(value) is int and value >= 0 for value in values)
    )


def _check_ranges(
    places: Mapping[str, tuple[TensorSpec, int]], available: int, where: str, rule: HeaderRule
) -> None:
    """Refuse data that overlap, leave gaps, or do not fill the file exactly."""
    position = 0
    total = max((begin + spec.nbytes for spec, begin in places.values()), default=0)
    for begin, end, name in sorted(
        (begin, begin + spec.nbytes, name) for name, (spec, begin) in places.items()
    ):
        tensor = f"{where}: {shown(name)}"
        if begin < position:
            raise rule.refuse("the tensor overlaps another one", tensor)
        if begin > position:
            raise rule.refuse(f"{begin - position} bytes before it are unused", tensor)
        if end > available:
            found = f"the file is truncated: it has {available} bytes of data"
            raise rule.refuse(found, tensor, f"{total} bytes")
        position = end
    if position != available:
        found = f"the file has {available} bytes of data"
        raise rule.refuse(found, where, f"{position} bytes, as its header says")
