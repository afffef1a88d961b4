"""A stack of pieces of bytes on disk, which a thread moves."""

import hashlib
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from tempfile import TemporaryFile

import numpy as np

from sala_compile.runtime.errors import StateFileError


@dataclass(slots=True)
class _Place:
    """Where a piece is, and its checksum once it is written."""

    offset: int
    size: int
    sha256: bytes = b""


class PieceFile:
    """The newest piece comes back first; one at a time is on its way in either direction.

    The file has no name, so that it is gone with the process.
    """

    def __init__(self, thread: Executor, folder: str | None) -> None:
        """In a folder, or that of temporary files; OSError. `thread` does one thing at a time."""
        self._thread = thread
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115  (`close` closes it)
        self._places: list[_Place] = []
        self._leaving: Future[None] | None = None
        self._coming: Future[np.ndarray] | None = None

    def __len__(self) -> int:
        """How many pieces there are."""
        return len(self._places)

    def push(self, data: np.ndarray) -> None:
        """Add a piece, uint8, once the one before is written; OSError if that failed."""
        self._settle()
        self._coming = None
        last = self._places[-1] if self._places else _Place(0, 0)
        place = _Place(last.offset + last.size, len(data))
        self._places.append(place)
        self._leaving = self._thread.submit(self._write, place, data)

    def pop(self) -> np.ndarray:
        """The newest piece, which leaves; the next begins to come.

        OSError if it cannot be read, StateFileError if it is damaged.
        """
        self._settle()
        data = self._begun().result()
        self._places.pop()
        self._coming = None
        if self._places:
            self._coming = self._begun()
        return data

    def close(self) -> None:
        """Remove the file, once the thread is done with it."""
        self._thread.submit(self._file.close)

    def _settle(self) -> None:
        """Wait until the newest piece is written."""
        leaving, self._leaving = self._leaving, None
        if leaving is not None:
            leaving.result()

    def _begun(self) -> Future[np.ndarray]:
        """The newest piece on its way back."""
        return self._coming or self._thread.submit(self._read, self._places[-1])

    def _write(self, place: _Place, data: np.ndarray) -> None:
        place.sha256 = hashlib.sha256(data.data).digest()
        self._file.seek(place.offset)
        self._file.write(data.data)
        self._file.flush()

    def _read(self, place: _Place) -> np.ndarray:
        data = np.empty(place.size, np.uint8)
        self._file.seek(place.offset)
        count = self._file.readinto(data.data)
        if count != place.size or hashlib.sha256(data.data).digest() != place.sha256:
            raise StateFileError("a file of pages is damaged", fix="check the disk")
        return data
