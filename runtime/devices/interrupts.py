"""Ctrl-C, let through only where a call may be cut short.

Blocks of this module have an effect only in the main thread, and only while SIGINT has Python's
own handler. They are classes, because generators would take longer than a decoded token may.
"""

import signal
import threading
from dataclasses import dataclass
from importlib import import_module
from types import FrameType, TracebackType
from typing import Any

# What `signal` wraps: its search for a handler's name takes longer than setting one.
_plain: Any = import_module("_signal")


@dataclass(slots=True)
class _Process:
    """Where the process is: in a block that lets interrupts `through`, and what is `pending`."""

    through: bool = False
    pending: bool = False

    def raise_pending(self) -> None:
        """Raise the interrupt that was kept, if one was."""
        if self.pending:
            self.pending = False
            raise KeyboardInterrupt


_process = _Process()


def _note(number: int, frame: FrameType | None) -> None:
    """The handler of SIGINT while interrupts are held."""
    if _process.through:
        raise KeyboardInterrupt
    _process.pending = True


class Held:
    """A block that keeps an interrupt until its end, except in blocks of `Allowed`."""

    def __init__(self) -> None:
        self._outer = self._inner = False

    def __enter__(self) -> None:
        """Begin to keep interrupts."""
        if not is_main():
            return
        handler = _plain.getsignal(signal.SIGINT)
        self._outer = handler is signal.default_int_handler
        self._inner = handler is _note and _process.through
        _process.through = False
        if self._outer:
            _process.pending = False
            _plain.signal(signal.SIGINT, _note)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let interrupts through again, first the one that was kept."""
        if self._inner:
            _process.through = True
        elif self._outer and _plain.getsignal(signal.SIGINT) is _note:
            _plain.signal(signal.SIGINT, signal.default_int_handler)
        if kind is None and (self._inner or self._outer):
            _process.raise_pending()


class Allowed:
    """A block inside one of `Held` that lets interrupts through, first the one that was kept."""

    def __init__(self) -> None:
        self._active = False

    def __enter__(self) -> None:
        """Begin to let interrupts through."""
        if is_main() and not _process.through and _plain.getsignal(signal.SIGINT) is _note:
            _process.raise_pending()
            self._active = _process.through = True

    def __exit__(self, *error: object) -> None:
        """Keep them again."""
        if self._active:
            _process.through = False


def is_main() -> bool:
    """Whether this is the thread that interrupts come to."""
    return threading.current_thread() is threading.main_thread()
