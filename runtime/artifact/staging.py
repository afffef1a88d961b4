"""Unfinished files and directories, next to the target that they replace when they are whole.

Each is locked while its process lives. What a killed one leaves has no lock: the next writer
to the same target removes it.
"""

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

SUFFIX = ".partial"
PREVIOUS = "previous"
"""In a staged directory: what was at the target, while two moves replace it."""
_STEM_BYTES = 200
_WITHOUT_LOCKS = frozenset(
    {errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF, errno.ENOLCK}
)


def staged_directory(target: Path) -> AbstractContextManager[Path]:
    """An empty directory next to `target`, which is gone at the end of the block."""
    return _staged(target, lambda path: path.mkdir(0o700), _remove_tree)


def staged_file(target: Path, mode: int = 0o666) -> AbstractContextManager[Path]:
    """An empty file next to `target`, which is gone at the end of the block unless it was moved."""

    def create(path: Path) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))

    return _staged(target, create, lambda path: path.unlink(missing_ok=True))


def remove_leftovers(target: Path) -> None:
    """Remove what dead writers to `target` left; never what a live one is writing.

    A directory that was at the target goes back there, if it was moved aside and not replaced.
    """
    name = re.compile(rf"\.{re.escape(_stem(target))}\.[0-9a-f]{{8}}{re.escape(SUFFIX)}")
    with suppress(OSError):
        for entry in list(os.scandir(target.parent)):
            if name.fullmatch(entry.name):
                _remove_leftover(Path(entry.path), target)


def _remove_leftover(path: Path, target: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            if not _locks(descriptor):
                return
            if not path.is_dir():
                path.unlink()
                return
            if (path / PREVIOUS).is_dir() and not target.exists():
                (path / PREVIOUS).rename(target)
            _remove_tree(path)
        finally:
            os.close(descriptor)


def _remove_tree(path: Path) -> None:
    """Remove what can be removed; the next writer removes the rest."""
    with suppress(OSError):  # it does not ignore all
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _staged(
    target: Path, create: Callable[[Path], None], remove: Callable[[Path], None]
) -> Iterator[Path]:
    """What `create` makes under a name of its own, locked in the block; at its end it is removed.

    A signal may end the block at any place, also between making it and entering the block.
    """
    with suppress(FileNotFoundError):
        target.lstat()  # a name that is too long is found out here, not at the end
    remove_leftovers(target)
    while True:
        path = target.with_name(f".{_stem(target)}.{secrets.token_hex(4)}{SUFFIX}")
        descriptor, another = None, False
        try:
            another = not _created(path, create)
            descriptor = None if another else _held(path)
            if descriptor is not None:
                yield path
                return
        finally:
            with suppress(OSError):
                if not another:
                    remove(path)
            with suppress(OSError):  # it was only held, and nothing was written through it
                if descriptor is not None:
                    os.close(descriptor)


def _created(path: Path, create: Callable[[Path], None]) -> bool:
    """Whether `create` made it; False where something has its name."""
    try:
        create(path)
    except FileExistsError:
        return False
    return True


def _stem(target: Path) -> str:
    """The target's name, or a digest of one that leaves no room for more."""
    name = target.name
    if len(os.fsencode(name)) <= _STEM_BYTES:
        return name
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:32]


def _held(path: Path) -> int | None:
    """A descriptor that keeps `path`; None if another writer just took it for a leftover."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        if _locks(descriptor) and path.exists():
            return descriptor
    except OSError as error:
        if error.errno in _WITHOUT_LOCKS:
            return descriptor  # nobody can lock here, so that nobody removes anything
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _locks(descriptor: int) -> bool:
    """Lock what is open, until it is closed; False if another has the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
