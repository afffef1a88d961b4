"""The container: metadata and the places of tensors, checked before any data is read.

The package gguf maps a file and believes its counts; here every count is bounded by the bytes
that are there, so that a hostile file costs no more than its size.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from sala_compile.runtime.common.files import shown
from sala_compile.runtime.common.git_lfs import PREFIX, refuse_pointer
from sala_compile.runtime.common.json_text import quoted
from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.gguf.detect import FILE, MAGIC

VERSIONS = (2, 3)
_FIX = "download or write the file again"
_HEADER_BYTES = 512 << 20
"""The most bytes of metadata and tensor places: several times a vocabulary of a million."""
_ITEMS = 8_000_000
"""The most keys, texts, numbers and tensors of a file."""
_DIMENSIONS = 4
_LARGEST = 2**48
"""The most bytes of a tensor: sizes are multiplied without an overflow."""
_TEXT, _ARRAY = 8, 9
_NUMBERS = {
    **{0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?"},
    **{10: "<u8", 11: "<i8", 12: "<f8"},
}
"""Type of a value -> NumPy's."""


@dataclass(frozen=True, slots=True)
class PlacedTensor:
    """A tensor as the file has it: `shape` rows first, `begin` the offset of its first byte."""

    name: str
    kind: GGMLQuantizationType
    shape: tuple[int, ...]
    begin: int


@dataclass(frozen=True, slots=True)
class Container:
    """`metadata` by key: numbers, texts, and lists of either."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, PlacedTensor]

    def texts(self, key: str) -> list[str]:
        """A list of texts of the metadata; CheckpointError where it is none."""
        return self._listed(key, str, "a list of texts")

    def numbers(self, key: str) -> list[int | float]:
        """A list of numbers of the metadata; CheckpointError where it is none."""
        return self._listed(key, (int, float), "a list of numbers")

    def _listed(self, key: str, kind: Any, expected: str) -> list[Any]:
        found = self.metadata.get(key)
        items = cast("list[Any]", found) if isinstance(found, list) else []
        if not items or not isinstance(items[0], kind):  # all of a list are of one type
            raise self.error(key, "the key is missing" if found is None else "it is none", expected)
        return items

    def error(self, key: str, found: str, expected: str, fix: str | None = None) -> CheckpointError:
        """An error that names a key of the metadata, or a tensor."""
        return CheckpointError(found, f"{shown(self.path)}: {shown(key)}", expected, fix)


def read_container(path: Path) -> Container:
    """Read the header of a file; CheckpointError where it is damaged, or of another version."""
    with FILE.open(path) as file:
        refuse_pointer(file.peek(len(PREFIX))[: len(PREFIX)], shown(path), CheckpointError)
        return _Reader(file, shown(path)).read(path)


class _Reader:
    """Reads on from the start; every read is checked against the bytes that are left."""

    def __init__(self, file: BufferedReader, where: str):
        self._file, self._where = file, where
        self._size = os.fstat(file.fileno()).st_size
        self._done = self._items = 0

    def read(self, path: Path) -> Container:
        if self._take(4) != MAGIC:
            raise self._damaged("the file does not begin as a GGUF file", 'the four bytes "GGUF"')
        version = self._whole("<I")
        if version not in VERSIONS:
            swapped = " (or the file is big-endian)" if version & 0xFFFF == 0 else ""
            raise self._damaged(f"the GGUF version is {version}{swapped}", "version 2 or 3")
        tensors, keys = self._whole("<Q"), self._whole("<Q")
        metadata: dict[str, Any] = {}
        for _ in range(self._counted(keys, 13, "keys")):
            key = self._text()
            if key in metadata:
                raise self._damaged(f"the key {quoted(key)} is there twice", "every key once")
            metadata[key] = self._value(self._whole("<I"))
        places = [self._place() for _ in range(self._counted(tensors, 24, "tensors"))]
        alignment = self._alignment(metadata)
        start = -(-self._done // alignment) * alignment
        return Container(path, metadata, self._tensors(places, start, alignment))

    def _take(self, count: int) -> bytes:
        if count > min(self._size, _HEADER_BYTES) - self._done:
            raise self._damaged(
                f"the header needs {count} bytes at byte {self._done}, and the file has "
                f"{self._size}",
                f"a whole header of at most {_HEADER_BYTES} bytes",
            )
        found = self._file.read(count)
        if len(found) != count:
            raise self._damaged("the file ends within its header", "a whole header")
        self._done += count
        return found

    def _whole(self, form: str) -> int:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _counted(self, count: int, smallest: int, what: str) -> int:
        """A count of things of at least `smallest` bytes each, which must fit into the rest."""
        self._items += count
        if count * smallest > self._size - self._done or self._items > _ITEMS:
            raise self._damaged(
                f"the header tells of {count} {what}",
                f"as many as fit into the file, and at most {_ITEMS}",
            )
        return count

    def _text(self) -> str:
        data = self._take(self._whole("<Q"))
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise self._damaged(f"a text is not UTF-8: {data[:40]!r}", "UTF-8") from None

    def _value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self._text()
        if kind != _ARRAY:
            return self._numbers(kind, 1)[0]
        kind, count = self._whole("<I"), self._whole("<Q")
        if kind == _TEXT:
            return [self._text() for _ in range(self._counted(count, 8, "texts"))]
        return self._numbers(kind, count)

    def _numbers(self, kind: int, count: int) -> list[Any]:
        if kind not in _NUMBERS:
            raise self._damaged(f"a value has the type {kind}", "a type of GGUF, no nested arrays")
        dtype = np.dtype(_NUMBERS[kind])
        self._counted(count, dtype.itemsize, "numbers")
        return np.frombuffer(self._take(count * dtype.itemsize), dtype).tolist()

    def _place(self) -> tuple[str, tuple[int, ...], int, int]:
        """Name, shape, type and offset of a tensor."""
        name, dimensions = self._text(), self._whole("<I")
        if not 1 <= dimensions <= _DIMENSIONS:
            raise self._damaged(f"{quoted(name)} has {dimensions} dimensions", "1 to 4 dimensions")
        sizes = [self._whole("<Q") for _ in range(dimensions)]
        return name, tuple(reversed(sizes)), self._whole("<I"), self._whole("<Q")

    def _alignment(self, metadata: Mapping[str, Any]) -> int:
        """What offsets are a multiple of."""
        found = metadata.get("general.alignment", 32)
        if type(found) is not int or not 0 < found <= 1 << 20 or found & found - 1:
            raise self._damaged(f"general.alignment is {quoted(found)}", "a power of two")
        return found

    def _tensors(
        self, places: list[tuple[str, tuple[int, ...], int, int]], start: int, alignment: int
    ) -> dict[str, PlacedTensor]:
        tensors: dict[str, PlacedTensor] = {}
        end = start
        for name, shape, number, offset in sorted(places, key=lambda place: place[3]):
            kind = self._kind(name, number)
            size = self._tensor_bytes(name, shape, kind)
            begin = start + offset
            if name in tensors:
                raise self._damaged(f"the tensor {quoted(name)} is there twice", "every name once")
            if begin < end or offset % alignment or begin + size > self._size:
                raise self._damaged(
                    f"the tensor {quoted(name)} has the bytes {begin} to {begin + size} of "
                    f"{self._size}",
                    f"within the file, at a multiple of {alignment}, apart from other tensors",
                )
            end = begin + size
            tensors[name] = PlacedTensor(name, kind, shape, begin)
        return tensors

    def _kind(self, name: str, number: int) -> GGMLQuantizationType:
        try:
            return GGMLQuantizationType(number)
        except ValueError:
            raise self._damaged(
                f"the tensor {quoted(name)} has type {number}", "a type of GGUF"
            ) from None

    def _tensor_bytes(self, name: str, shape: tuple[int, ...], kind: GGMLQuantizationType) -> int:
        values, size = GGML_QUANT_SIZES[kind]
        if 0 in shape or math.prod(shape) > _LARGEST or shape[-1] % values:
            raise self._damaged(
                f"the tensor {quoted(name)} of type {kind.name} has shape {list(shape)}",
                f"a positive shape whose rows are a multiple of {values}",
            )
        return math.prod(shape) // values * size

    def _damaged(self, found: str, expected: str) -> CheckpointError:
        return CheckpointError(found, self._where, expected, _FIX)
