"""Work on a loaded model: one thread at a time, until the model is closed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sala_compile.runtime.devices.interrupts import Interrupts
from sala_compile.runtime.errors import RequestError


class Exclusive:
    """Lets one thread in at a time, and none once it is `closed`."""

    def __init__(self, interrupts: Interrupts) -> None:
        """`interrupts` are held back while what sequences hold is changed."""
        self._interrupts = interrupts
        self._lock = threading.Lock()
        self.closed = False

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Be alone in the block, as in `entered`, to change what is held: no interrupt comes."""
        with self._interrupts.held(), self.entered():
            yield

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be alone in the block; RequestError while another thread is in one, or when closed."""
        if not self._lock.acquire(blocking=False):
            raise _in_use()
        try:
            self._require_open()
            yield
        finally:
            self._lock.release()

    @contextmanager
    def visited(self) -> Iterator[None]:
        """Be alone in the block, after another thread if need be, to look at what is held.

        RequestError when closed: what memory held is gone.
        """
        with self._lock:
            self._require_open()
            yield

    @contextmanager
    def closing(self) -> Iterator[bool]:
        """Close, and be alone in the block; False where that was done already.

        RequestError while another thread is in a block.
        """
        if not self._lock.acquire(blocking=False):
            if not self.closed:
                raise _in_use()
            yield False  # another thread is closing
            return
        try:
            first, self.closed = not self.closed, True
            yield first
        finally:
            self._lock.release()

    @contextmanager
    def releasing(self) -> Iterator[None]:
        """Be alone in the block, closed or not, after another thread if need be, to clean up."""
        with self._interrupts.held(), self._lock:
            yield

    def _require_open(self) -> None:
        if self.closed:
            raise RequestError("the model is closed", fix="load it again")


def _in_use() -> RequestError:
    return RequestError(
        "the model is in use by another thread",
        expected="one thread at a time",
        fix="use a lock, or load the model once for each thread",
    )
