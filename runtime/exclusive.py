"""Work on a loaded model: one thread at a time, until the model is closed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from runtime.errors import RequestError


class Exclusive:
    """Lets one thread in at a time, and none once it is `closed`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.closed = False

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be alone in the block; RequestError while another thread is in one, or when closed."""
        if not self._lock.acquire(blocking=False):
            raise RequestError(
                "the model is in use by another thread",
                expected="one thread at a time",
                fix="use a lock, or load the model once for each thread",
            )
        try:
            if self.closed:
                raise RequestError("the model is closed", fix="load it again")
            yield
        finally:
            self._lock.release()

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Be alone in the block, closed or not, after another thread if need be: to clean up."""
        with self._lock:
            yield
