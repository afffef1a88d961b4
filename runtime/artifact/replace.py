"""Durable replacement of a file or a directory: the old or the new one is there, whole."""

import ctypes
import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sala_compile.runtime.artifact.staging import PREVIOUS, staged_file

AT_FDCWD = -100
RENAME_EXCHANGE = 2
_UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM})
_NEVER_SYNCED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EROFS, errno.ENOSYS})
"""The errors of a file system that cannot sync a directory at all."""


class NotDurableError(OSError):
    """The new file or directory is there, but could be lost if the machine fails now."""


def sync_directory(directory: Path) -> None:
    """Make the entries of a directory durable, where its file system can and we may."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return  # to write into it is allowed, to open it is not
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NEVER_SYNCED:
            raise
    finally:
        with suppress(OSError):
            os.close(descriptor)


def put(staged: Path, target: Path) -> None:
    """Put `staged`, a file or a directory, at `target`, and make that durable.

    What was there is afterwards at `staged`, or next to it. Atomic where the file system
    exchanges names. Elsewhere an old directory is moved aside, and moved back if the second move
    fails, or by the next writer if this one dies in between. After an OSError everything is
    as before; only after a NotDurableError the new one is there.
    """
    undo = _move(staged, target)
    try:
        sync_directory(target.parent)
    except OSError as error:
        try:
            undo()
        except OSError:
            raise NotDurableError(error.errno, error.strerror, str(target)) from error
        raise


def write_whole(target: Path, data: bytes, mode: int = 0o666) -> None:
    """Make `target` a durable file of these bytes, or leave it as it was; raises OSError.

    It keeps the mode of the file that was there.
    """
    with staged_file(target, mode) as fresh:
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            with suppress(FileNotFoundError):
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            os.fsync(file.fileno())
        put(fresh, target)


def _move(staged: Path, target: Path) -> Callable[[], object]:
    """Put `staged` at `target`; returns the function that undoes it."""
    if not os.path.lexists(target):
        staged.rename(target)
        return lambda: target.rename(staged)
    if _exchange(staged, target):
        return lambda: _exchange(target, staged) or _fail()
    if staged.is_dir():
        return _move_aside(staged, target)
    staged.replace(target)
    return _fail


def _fail() -> None:
    raise OSError(errno.ENOTSUP, "the old file is gone")


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step; False if that is not supported."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    code = errno.EINTR
    while code == errno.EINTR:
        names = (AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second))
        if call(*names, RENAME_EXCHANGE) == 0:
            return True
        code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(second))


def _move_aside(staged: Path, target: Path) -> Callable[[], object]:
    aside = staged.with_name(PREVIOUS)

    def undo() -> None:
        target.rename(staged)
        aside.rename(target)

    target.rename(aside)
    try:
        staged.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    return undo
