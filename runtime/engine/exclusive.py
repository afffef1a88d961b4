"""Work on a loaded model: one thread at a time, until the model is closed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from sala_compile.runtime.devices.interrupts import Held
from sala_compile.runtime.errors import RequestError


class Exclusive:
    """Lets one thread in at a time, and none once it is `closed`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.closed = False

    def changing(self) -> "_Changing":
        """Be alone in the block, as in `entered`, to change what is held: no interrupt comes."""
        return _Changing(self)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be alone in the block; RequestError while another thread is in one, or when closed."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

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
        """Close, and be alone in the block; False if that was done already.

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
        with Held(), self._lock:
            yield

    def enter(self) -> None:
        """Begin to be alone; RequestError while another thread is, or when closed."""
        if not self._lock.acquire(blocking=False):
            raise _in_use()
        if self.closed:
            self._lock.release()
            self._require_open()

    def leave(self) -> None:
        """Cease to be alone."""
        self._lock.release()

    def _require_open(self) -> None:
        if self.closed:
            raise RequestError("the model is closed", fix="load it again")


class _Changing:
    """A block of `Exclusive.changing`; a class, because a generator takes longer."""

    def __init__(self, exclusive: Exclusive) -> None:
        self._exclusive = exclusive
        self._held = Held()

    def __enter__(self) -> None:
        self._held.__enter__()
        try:
            self._exclusive.enter()
        except BaseException as error:
            self._held.__exit__(type(error), error, None)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exclusive.leave()
        self._held.__exit__(kind, error, traceback)


def _in_use() -> RequestError:
    return RequestError(
        "the model is in use by another thread",
        expected="one thread at a time",
        fix="use a lock, or load the model once for each thread",
    )
