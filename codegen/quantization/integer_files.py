"""Integers of many tensors, in files of a temporary directory."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr

CODES, SCALES, ZEROS = "codes", "scales", "zeros"
ELEMENTS = {CODES: np.uint8, SCALES: np.float16, ZEROS: np.uint8}


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of a tensor in a file: from a byte on, `width` values of an element type each."""

    file: BinaryIO
    offset: int
    count: int
    width: int
    dtype: np.dtype

    def write(self, start: int, rows: np.ndarray) -> None:
        assert start + len(rows) <= self.count, "rows of this tensor"
        data, place = np.ascontiguousarray(rows, self.dtype).tobytes(), self._place(start)
        while data:
            written = os.pwrite(self.file.fileno(), data, place)
            data, place = data[written:], place + written

    def read(self, start: int, stop: int) -> np.ndarray:
        stop = max(start, min(stop, self.count))
        place, end = self._place(start), self._place(stop)
        data = bytearray(os.pread(self.file.fileno(), end - place, place))
        return np.frombuffer(data, self.dtype).reshape(stop - start, self.width)

    def _place(self, row: int) -> int:
        return self.offset + row * self.width * self.dtype.itemsize


@dataclass(slots=True)
class IntegerStore:
    """Tensors by name; codes of 4 bits are stored two to a byte.

    One file for the codes of all tensors, one for their scales and one for their zeros, read and
    written at places: a system maps fewer files than a model with experts has tensors.
    """

    directory: Path
    _files: dict[str, BinaryIO] = field(default_factory=dict)
    _tensors: dict[str, tuple[EncodingAttr, Mapping[str, _Rows]]] = field(default_factory=dict)

    def create(self, name: str, shape: tuple[int, int], encoding: EncodingAttr) -> None:
        """Make room for the rows of a tensor."""
        rows, columns = shape
        groups = -(-columns // encoding.group.data)
        bytes_of_codes = groups * encoding.group.data * encoding.bits // 8
        widths = {CODES: bytes_of_codes, SCALES: groups, ZEROS: groups}
        parts = {part: self._room(part, rows, width) for part, width in widths.items()}
        self._tensors[name] = encoding, parts

    def write(self, name: str, start: int, integers: Integers) -> None:
        """Store rows from `start` on."""
        encoding, parts = self._tensors[name]
        codes = integers.codes
        packed = codes[:, ::2] | codes[:, 1::2] << 4 if encoding.bits == 4 else codes
        parts[CODES].write(start, packed)
        parts[SCALES].write(start, integers.scales)
        parts[ZEROS].write(start, integers.zeros)

    def read(self, name: str, start: int, stop: int) -> Integers:
        """Rows [start, stop) in memory of their own."""
        encoding, parts = self._tensors[name]
        codes, scales, zeros = (parts[part].read(start, stop) for part in ELEMENTS)
        if encoding.bits == 4:
            codes = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), -1)
        return Integers.of_groups(codes, scales, zeros)

    def __contains__(self, name: str) -> bool:
        """Whether the tensor was created."""
        return name in self._tensors

    def _room(self, part: str, rows: int, width: int) -> _Rows:
        """Room for rows at the end of the file of a part."""
        if part not in self._files:
            self._files[part] = (self.directory / part).open("w+b")
        file, dtype = self._files[part], np.dtype(ELEMENTS[part])
        offset = os.fstat(file.fileno()).st_size
        os.truncate(file.fileno(), offset + rows * width * dtype.itemsize)
        return _Rows(file, offset, rows, width, dtype)
