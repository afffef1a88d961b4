"""Files that are opened once: what was checked and what is used are the same file.

A name can lead to another file at any time; a descriptor cannot. So a file of an artifact is
opened when the artifact is, its size, hash and contents are all read through that descriptor, and
libraries and weights are mapped from it. Moving or replacing the artifact changes nothing then.
"""

import errno
import hashlib
import os
import stat
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from sala_compile.runtime.artifact.paths import checked_relative
from sala_compile.runtime.errors import ArtifactError

_PIECE = 1 << 20
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_INSIDE = _FLAGS | os.O_NOFOLLOW


class OpenFile:
    """A regular file that stays open as long as this object lives; `path` is for messages."""

    def __init__(self, path: Path, descriptor: int) -> None:
        """Take over the descriptor; ArtifactError unless it is of a regular file."""
        self.path = path
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise not_regular(path)
        self.size = found.st_size
        self.identity = (found.st_dev, found.st_ino)

    @classmethod
    def at(cls, path: Path) -> "OpenFile":
        """Open the file at a path; ArtifactError if that cannot be done."""
        try:
            return cls(path, os.open(path, _FLAGS))
        except OSError as error:
            raise _unreadable(path, error) from None

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    @property
    def link(self) -> str:
        """A path that leads to this very file, even if its own name leads to another by now."""
        return f"/proc/self/fd/{self._descriptor}"

    def read(self) -> bytes:
        """All bytes."""
        return b"".join(self._pieces())

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from a place on."""
        pieces: list[bytes] = []
        while size and (piece := self._read(offset, min(size, _PIECE))):
            pieces.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        return b"".join(pieces)

    def sha256(self) -> str:
        """The SHA-256 of what the file holds now."""
        digest, piece, offset = hashlib.sha256(), memoryview(bytearray(_PIECE)), 0
        try:
            while count := os.preadv(self._descriptor, [piece], offset):
                digest.update(piece[:count])
                offset += count
        except OSError as error:
            raise _unreadable(self.path, error) from None
        return digest.hexdigest()

    def _pieces(self) -> Iterator[bytes]:
        offset = 0
        while piece := self._read(offset, _PIECE):
            yield piece
            offset += len(piece)

    def _read(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise _unreadable(self.path, error) from None


class OpenDirectory:
    """The directory of an artifact while its files are opened."""

    def __init__(self, path: Path) -> None:
        """Open it; ArtifactError if there is none."""
        self._path = path
        try:
            self._descriptor = os.open(path, _FLAGS | os.O_DIRECTORY)
        except (OSError, ValueError):
            raise ArtifactError(
                "there is no artifact here",
                where=str(path),
                expected="a directory NAME.sala that sala-compile wrote",
            ) from None
        self.close = weakref.finalize(self, os.close, self._descriptor)

    def file(self, path: str) -> OpenFile:
        """Open the regular file `path`, reached without any symbolic link."""
        parts = checked_relative(path).parts
        current = self._descriptor
        opened: list[int] = []
        place = self._path
        try:
            for part in parts[:-1]:
                place = place / part
                current = _open(part, _INSIDE | os.O_DIRECTORY, current, place, path)
                opened.append(current)
            place = place / parts[-1]
            return OpenFile(place, _open(parts[-1], _INSIDE, current, place, path))
        finally:
            for descriptor in opened:
                os.close(descriptor)


def _open(name: str, flags: int, directory: int, place: Path, path: str) -> int:
    try:
        return os.open(name, flags, dir_fd=directory)
    except OSError as error:
        _refuse(error, place, path)


def _refuse(error: OSError, place: Path, path: str) -> NoReturn:
    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
        raise not_regular(place, path) from None
    if error.errno == errno.ENOENT:
        raise ArtifactError(
            "a file of the artifact is missing",
            where=str(place),
            expected="every file that manifest.json lists",
            fix="copy the whole directory, or compile again",
        ) from None
    raise _unreadable(place, error) from None


def not_regular(place: Path, path: str | None = None) -> ArtifactError:
    """The error for a link, a pipe, a device or a directory in place of a file."""
    return ArtifactError(
        f"{path or place.name} is a link or not a regular file",
        where=str(place),
        expected="regular files inside the artifact only",
        fix="copy the artifact with its files, not with links to them",
    )


def _unreadable(path: Path, error: OSError) -> ArtifactError:
    return ArtifactError(
        f"the file cannot be read: {error.strerror}",
        where=str(path),
        expected="a file that this process may read",
        fix="see its permissions and how many files the process may open (ulimit -n)",
    )
