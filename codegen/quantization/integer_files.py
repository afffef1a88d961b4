"""Integers of many tensors, in files of a temporary directory."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr

CODES, SCALES, ZEROS = "codes", "scales", "zeros"
ELEMENTS = {CODES: np.uint8, SCALES: np.float16, ZEROS: np.uint8}


@dataclass(slots=True)
class IntegerStore:
    """Tensors by name; codes of 4 bits are stored two to a byte. Files are mapped, not loaded."""

    directory: Path
    _tensors: dict[str, tuple[EncodingAttr, dict[str, np.memmap]]] = field(default_factory=dict)

    def create(self, name: str, shape: tuple[int, int], encoding: EncodingAttr) -> None:
        """Make room for the rows of a tensor."""
        rows, columns = shape
        groups = -(-columns // encoding.group.data)
        bytes_of_codes = groups * encoding.group.data * encoding.bits // 8
        shapes = {CODES: bytes_of_codes, SCALES: groups, ZEROS: groups}
        stem = self.directory / str(len(self._tensors))
        parts = {
            part: np.memmap(stem.with_suffix(f".{part}"), ELEMENTS[part], "w+", shape=(rows, width))
            for part, width in shapes.items()
        }
        self._tensors[name] = encoding, parts

    def write(self, name: str, start: int, integers: Integers) -> None:
        """Store rows from `start` on."""
        encoding, parts = self._tensors[name]
        rows = slice(start, start + len(integers))
        codes = integers.codes
        parts[CODES][rows] = codes[:, ::2] | codes[:, 1::2] << 4 if encoding.bits == 4 else codes
        parts[SCALES][rows], parts[ZEROS][rows] = integers.scales, integers.zeros

    def read(self, name: str, start: int, stop: int) -> Integers:
        """Rows [start, stop) in memory of their own."""
        encoding, parts = self._tensors[name]
        codes, scales, zeros = (np.array(parts[part][start:stop]) for part in ELEMENTS)
        if encoding.bits == 4:
            codes = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), -1)
        return Integers.of_groups(codes, scales, zeros)

    def __contains__(self, name: str) -> bool:
        """Whether the tensor was created."""
        return name in self._tensors
