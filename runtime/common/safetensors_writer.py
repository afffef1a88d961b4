"""Writing a safetensors file tensor by tensor, piece by piece."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from sala_compile.runtime.common.safetensors_format import TensorSpec, header_bytes

PADDING = "__padding__."
"""Names of the filler tensors that keep the others aligned."""


def file_bytes(specs: Iterable[TensorSpec], alignment: int) -> int:
    """Bytes of the file that a `TensorWriter` makes of these tensors."""
    padded = _padded(specs, alignment)
    return len(header_bytes(padded, alignment)) + sum(spec.nbytes for spec in padded)


class TensorWriter:
    """Writes the tensors of `specs` in this order, and keeps none of them in memory.

    Each tensor may come in any number of consecutive pieces. Every tensor starts at a multiple of
    `alignment` bytes of the file, by filler tensors between them; none are written for 1. Leaving
    the `with` block before every byte came is an error. `durable` waits for the disk at the end.
    """

    def __init__(
        self,
        path: Path,
        specs: Iterable[TensorSpec],
        *,
        alignment: int,
        durable: bool = True,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._specs = _padded(specs, alignment)
        self._durable = durable
        self._path = path
        self._hash = hashlib.sha256()
        self._index = 0
        self._written = 0
        self._size = 0
        self._file: BinaryIO = path.open("xb")
        self._put(header_bytes(self._specs, max(alignment, 8), metadata))

    def write(self, name: str, piece: np.ndarray) -> None:
        """Append the bytes of `piece` (any shape, row-major) to the tensor `name`."""
        if piece.nbytes == 0:
            return
        self._skip_padding()
        spec = self._current()
        if spec is None or spec.name != name:
            expected = "the end" if spec is None else spec.name
            raise ValueError(f"{self._path.name}: {name} written where {expected} is due")
        data = np.ascontiguousarray(piece)
        if self._written + data.nbytes > spec.nbytes:
            raise ValueError(f"{self._path.name}: {name} has more than {spec.nbytes} bytes")
        self._put(data.reshape(-1).view(np.uint8).data)  # bfloat16 exports no buffer
        self._written += data.nbytes
        self._skip_padding()

    @property
    def size(self) -> int:
        """Bytes written so far; the size of the file once closed."""
        return self._size

    @property
    def sha256(self) -> str:
        """Hash of the bytes written so far."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Check that every tensor is whole, and close the file."""
        self._skip_padding()
        if self._index < len(self._specs):
            raise ValueError(f"{self._path.name}: {self._specs[self._index].name} is incomplete")
        self._file.flush()
        if self._durable:
            os.fsync(self._file.fileno())
        self._file.close()

    def __enter__(self) -> "TensorWriter":
        """The writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; after an error only the file handle."""
        if kind is None:
            self.close()
        else:
            self._file.close()

    def _current(self) -> TensorSpec | None:
        return self._specs[self._index] if self._index < len(self._specs) else None

    def _skip_padding(self) -> None:
        while self._index < len(self._specs):
            spec = self._specs[self._index]
            padding = spec.name.startswith(PADDING)
            if padding:
                self._put(bytes(spec.nbytes))
            elif self._written < spec.nbytes:
                return
            self._index += 1
            self._written = 0

    def _put(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)


def _padded(specs: Iterable[TensorSpec], alignment: int) -> list[TensorSpec]:
    padded: list[TensorSpec] = []
    for spec in specs:
        padded.append(spec)
        missing = -spec.nbytes % alignment
        if missing:
            padded.append(TensorSpec(f"{PADDING}{len(padded)}", "U8", (missing,)))
    names = [spec.name for spec in padded]
    if len(set(names)) != len(names):
        raise ValueError("two tensors of one file have the same name")
    return padded
