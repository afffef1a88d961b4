"""A thread that reads prefixes from disk, piece by piece."""

import threading
from collections.abc import Callable, Sequence
from queue import Empty, Full, Queue

import numpy as np

from sala_compile.runtime.errors import StateFileError
from sala_compile.runtime.serving.kept.kept_file import KeptHeader
from sala_compile.runtime.serving.kept.kept_folder import KeptFolder

READ_AHEAD = 4
"""Pieces that wait for the engine's thread."""
_LAST_SECONDS = 5.0
_PATIENCE = 0.2
"""Seconds after which a reader looks whether anybody still wants its pieces."""


class PrefixReading:
    """Files that are read one after the other, in pieces that `take` returns in their order."""

    def __init__(self, files: Sequence[KeptHeader]) -> None:
        """For the files with these headers."""
        self.files = files
        self.given_up = False
        """Set by whoever takes the pieces when no more are wanted."""
        self.error: tuple[KeptHeader, StateFileError] | None = None
        self.ended = False
        self._pieces: Queue[np.ndarray] = Queue(READ_AHEAD)

    def take(self) -> np.ndarray | None:
        """The next piece, uint8; None if it is not there yet, or `error` is set."""
        try:
            return self._pieces.get_nowait()
        except Empty:
            return None

    def give(self, data: np.ndarray) -> bool:
        """Hand over a piece, when there is room; False if none is wanted any more."""
        while not self.given_up:
            try:
                self._pieces.put(data, timeout=_PATIENCE)
            except Full:
                continue
            return True
        return False


class PrefixReader:
    """Reads what is requested, one after the other."""

    def __init__(self, folder: KeptFolder, wake: Callable[[], None]) -> None:
        """`wake` is called from the thread when a piece is there, or none will be."""
        self._folder = folder
        self._wake = wake
        self._requests: Queue[PrefixReading | None] = Queue()
        self._thread = threading.Thread(target=self._run, name="prefix-reader", daemon=True)
        self._thread.start()

    def request(self, reading: PrefixReading) -> None:
        """Read these files, after those that were requested before."""
        self._requests.put(reading)

    def stop(self) -> None:
        """End the thread; readings were given up before. One that the disk holds is left behind."""
        self._requests.put(None)
        self._thread.join(_LAST_SECONDS)

    def _run(self) -> None:
        while (reading := self._requests.get()) is not None:
            for header in reading.files:
                try:
                    if not self._read(reading, header):
                        break
                except StateFileError as problem:
                    reading.error = header, problem
                    break
            reading.ended = True
            self._wake()

    def _read(self, reading: PrefixReading, header: KeptHeader) -> bool:
        for data in self._folder.pieces(header):
            if not reading.give(data):
                return False
            self._wake()
        return True
