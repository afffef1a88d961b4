"""Durable replacement of a directory, which a plain rename cannot do."""

import ctypes
import errno
import os
from pathlib import Path

from runtime.artifact.staging import PREVIOUS

AT_FDCWD = -100
RENAME_EXCHANGE = 2
_UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM})


def sync_directory(directory: Path) -> None:
    """Make the entries of a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def exchange_directories(staged: Path, target: Path) -> None:
    """Put `staged` at `target`; what stood there afterwards stands at `staged`, or beside it.

    Atomic where the file system exchanges names; elsewhere the old directory is moved aside and
    moved back if the second move fails, or by the next writer if this one dies in between.
    """
    if not target.exists():
        staged.rename(target)
    elif not _exchange(staged, target):
        _move_aside(staged, target)
    sync_directory(target.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step; False where that is not supported."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    result = call(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE)
    if result == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(second))


def _move_aside(staged: Path, target: Path) -> None:
    aside = staged.with_name(PREVIOUS)
    target.rename(aside)
    try:
        staged.rename(target)
    except OSError:
        aside.rename(target)
        raise
