"""Ctrl-C, let through only where a call may be cut short."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Any

# What `signal` wraps: its search for a handler's name takes longer than setting one.
_plain: Any = import_module("_signal")


class Interrupts:
    """Holds Python's own KeyboardInterrupt back while books are being kept.

    It has an effect only in the main thread, and only while SIGINT has its usual handler.
    """

    def __init__(self) -> None:
        self._holding = False
        self._pending = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep an interrupt until the block is left, or one of `allowed` is entered."""
        if not _is_usual() or threading.current_thread() is not threading.main_thread():
            yield
            return
        self._pending = False
        self._hold()
        try:
            yield
        finally:
            if self._holding:
                self._let_go()
        if self._pending:
            raise KeyboardInterrupt

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Let interrupts through, first the one that was kept, inside a block of `held`."""
        if not self._holding or threading.current_thread() is not threading.main_thread():
            yield
            return
        self._let_go()
        try:
            if self._pending:
                raise KeyboardInterrupt
            yield
        finally:
            self._pending = False
            if _is_usual():
                self._hold()

    def _hold(self) -> None:
        _plain.signal(signal.SIGINT, self._note)
        self._holding = True

    def _let_go(self) -> None:
        self._holding = False
        _plain.signal(signal.SIGINT, signal.default_int_handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._pending = True


def _is_usual() -> bool:
    """Whether Ctrl-C raises KeyboardInterrupt in the main thread."""
    return _plain.getsignal(signal.SIGINT) is signal.default_int_handler
