"""Padded safetensors files: streamed writing, validated headers, private mapping."""

import hashlib
import json
import mmap
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from sala_compile.runtime.artifact.format_model import ALIGNMENT, align
from sala_compile.runtime.artifact.opened import OpenFile
from sala_compile.runtime.common.json_text import JsonLimits, parse_object, shortened
from sala_compile.runtime.errors import ArtifactError

STORED_TYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "BF16": np.dtype(np.uint16),
    "F16": np.dtype(np.float16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
}
"""safetensors names of element types, and NumPy's; bfloat16 is read as its bits."""

PADDING = "__padding__."
"""Names of the filler tensors that keep the others aligned."""
MAP_NORESERVE = 0x4000
"""Linux: a private mapping that nobody writes needs no memory set aside; Python 3.11 lacks it."""
HEADER_LIMITS = JsonLimits(size=16 << 20)


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


class TensorWriter:
    """Writes the tensors of `specs` in this order, holding none of them.

    Each tensor may come in any number of consecutive pieces. Every tensor starts at a multiple of
    64 bytes of the file. Leaving the `with` block before every byte came is an error.
    """

    def __init__(self, path: Path, specs: Iterable[TensorSpec]) -> None:
        self._specs = _padded(specs)
        self._path = path
        self._hash = hashlib.sha256()
        self._index = 0
        self._written = 0
        self._size = 0
        self._file: BinaryIO = path.open("xb")
        self._put(_header(self._specs))

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
        self._put(data.data.cast("B"))
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
        """Check that every tensor is whole, and make the file durable."""
        self._skip_padding()
        if self._index < len(self._specs):
            raise ValueError(f"{self._path.name}: {self._specs[self._index].name} is incomplete")
        self._file.flush()
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


def _padded(specs: Iterable[TensorSpec]) -> list[TensorSpec]:
    padded: list[TensorSpec] = []
    for spec in specs:
        padded.append(spec)
        missing = align(spec.nbytes) - spec.nbytes
        if missing:
            padded.append(TensorSpec(f"{PADDING}{len(padded)}", "U8", (missing,)))
    names = [spec.name for spec in padded]
    if len(set(names)) != len(names):
        raise ValueError("two tensors of one file have the same name")
    return padded


def _header(specs: list[TensorSpec]) -> bytes:
    entries: dict[str, dict[str, object]] = {}
    offset = 0
    for spec in specs:
        entries[spec.name] = {
            "dtype": spec.dtype,
            "shape": list(spec.shape),
            "data_offsets": [offset, offset + spec.nbytes],
        }
        offset += spec.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (align(8 + len(text)) - 8 - len(text))
    return len(text).to_bytes(8, "little") + text


def file_bytes(specs: Iterable[TensorSpec]) -> int:
    """Bytes of the file that a `TensorWriter` makes of these tensors."""
    padded = _padded(specs)
    return len(_header(padded)) + sum(spec.nbytes for spec in padded)


def read_header(file: OpenFile) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file, every offset checked against the file's size.

    Raises ArtifactError for a truncated or contradictory header. Padding is left out.
    """
    path, size = file.path, file.size
    length = int.from_bytes(file.read_at(0, 8), "little")
    if size < 8 or length > size - 8:
        raise _damaged(path, "the header is longer than the file")
    if length > HEADER_LIMITS.size:
        raise _damaged(path, f"the header has {length} bytes, {HEADER_LIMITS.size} at most")
    text = file.read_at(8, length)
    entries = parse_object(
        text, str(path), ArtifactError, fix="compile again", limits=HEADER_LIMITS
    )
    try:
        tensors = _tensors_of(path, entries, 8 + length, size)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"the header cannot be read ({error})") from error
    return {name: t for name, t in tensors.items() if not name.startswith(PADDING)}


def _tensors_of(path: Path, entries: Any, start: int, size: int) -> dict[str, StoredTensor]:
    tensors: dict[str, StoredTensor] = {}
    spans: list[tuple[int, int]] = []
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        begin, end = (_natural(value) for value in entry["data_offsets"])
        spec = TensorSpec(name, entry["dtype"], tuple(_natural(dim) for dim in entry["shape"]))
        if spec.dtype not in STORED_TYPES:
            raise _damaged(path, f"{name} has the unknown element type {spec.dtype!r}")
        if end - begin != spec.nbytes or start + end > size:
            raise _damaged(path, f"{name} does not fit its place in the file")
        if (start + begin) % ALIGNMENT and not name.startswith(PADDING):
            raise _damaged(path, f"{name} is not aligned to {ALIGNMENT} bytes")
        tensors[name] = StoredTensor(spec, start + begin)
        spans.append((begin, end))
    _check_spans(path, sorted(spans), size - start)
    return tensors


def _check_spans(path: Path, spans: list[tuple[int, int]], size: int) -> None:
    position = 0
    for begin, end in spans:
        if begin != position:
            raise _damaged(path, f"the tensors overlap or leave a hole at byte {position}")
        position = end
    if position != size:
        raise _damaged(path, f"the tensors end at byte {position}, the data at {size}")


def _natural(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not a size")
    return value


def _damaged(path: Path, found: str) -> ArtifactError:
    return ArtifactError(
        shortened(found), where=str(path), expected="a whole safetensors file", fix="compile again"
    )


class MappedTensors:
    """The tensors of one file as views of a private mapping: clean pages, shared by processes.

    The mapping is writable (NumPy exports no read-only memory to DLPack), but nobody writes.
    """

    def __init__(self, file: OpenFile) -> None:
        self._path = file.path
        self.stored: Mapping[str, StoredTensor] = read_header(file)
        private = mmap.MAP_PRIVATE | MAP_NORESERVE
        self._map = mmap.mmap(
            file.fileno(), file.size, flags=private, prot=mmap.PROT_READ | mmap.PROT_WRITE
        )
        self.nbytes = len(self._map)

    def array(self, name: str) -> np.ndarray:
        """The tensor `name`, bfloat16 as uint16; no copy. ArtifactError if there is none."""
        tensor = self.stored.get(name)
        if tensor is None:
            raise _damaged(self._path, f"there is no tensor {name}")
        dtype = STORED_TYPES[tensor.spec.dtype]
        flat = np.frombuffer(self._map, dtype, prod(tensor.spec.shape), tensor.offset)
        return flat.reshape(tensor.spec.shape)
