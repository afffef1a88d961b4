"""Files that a user or a checkpoint names: opened only if they are regular files that fit.

A named pipe is never waited for, a device never touched, and nothing is read beyond its limit.
"""

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader, FileIO
from pathlib import Path

from sala_compile.runtime.common.units import format_bytes
from sala_compile.runtime.errors import RequestError, SalaError

Name = str | os.PathLike[str]
SHOWN_NAME = 200
"""Characters of a path that a message shows."""
NAME_BYTES = 255
"""The longest name of a file on most systems."""
_PIECE = 1 << 20
_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRule:
    """What may be at the path of a file, and the error for everything else.

    `what` is the file's part in messages ("the tokenizer"), `limit` the most bytes that it may
    have, None if its reader bounds what it reads. `error` is raised for a name that is missing,
    too long or has a NUL, for a pipe, socket, device or directory, for a file that is larger or
    may not be read, and for one that has a size but no contents. A link is followed.
    """

    what: str
    limit: int | None = None
    error: type[SalaError] = RequestError
    expected: str | None = None
    fix: str | None = None

    def open(self, path: Name) -> BufferedReader:
        """Open the file for reading, without ever waiting."""
        try:
            self._check(path, os.stat(path))  # first: to open a device may already do something
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
            descriptor = os.open(path, flags)
        except (OSError, ValueError) as problem:
            raise self.refused(path, reason(path, problem)) from None
        try:
            found = os.fstat(descriptor)
            self._check(path, found)
            if found.st_size and _first(descriptor, os.SEEK_DATA, found.st_size) >= found.st_size:
                raise self.refused(path, f"has {found.st_size} bytes, none of them ever written")
            os.lseek(descriptor, 0, os.SEEK_SET)
            return BufferedReader(_Input(descriptor, "rb"))
        except BaseException:
            os.close(descriptor)
            raise

    def read(self, path: Name) -> bytes:
        """All bytes of the file, which needs a limit."""
        assert self.limit is not None, "what is read whole is limited"
        pieces: list[bytes] = []
        size = 0
        with self.open(path) as file:
            try:
                while piece := file.read(min(_PIECE, self.limit + 1 - size)):
                    pieces.append(piece)
                    size += len(piece)
            except OSError as problem:
                raise self.refused(path, reason(path, problem)) from None
        if size > self.limit:  # it grew, or it is one of /proc, which reports no size
            raise self._too_large(path, f"more than {self.limit} bytes")
        return b"".join(pieces)

    def read_text(self, path: Name) -> str:
        """The text of the file, which needs a limit, is UTF-8 and has no holes."""
        with self.open(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size and _first(file.fileno(), os.SEEK_HOLE, size) < size:
                raise self.refused(path, f"is sparse: parts of its {size} bytes were never written")
        try:
            return self.read(path).decode("utf-8")
        except UnicodeDecodeError as problem:
            found = f"it is not UTF-8: {problem.reason} at byte {problem.start}"
            raise self.refused(path, f"cannot be read: {found}") from None

    def refused(self, path: Name, found: str) -> SalaError:
        """The error for a file of which `found` ("is sparse") is true."""
        return self.error(
            f"{self.what} {found}",
            where=shown(path),
            expected=self.expected or "a regular file that can be read",
            fix=self.fix,
        )

    def _check(self, path: Name, found: os.stat_result) -> None:
        kind = special_kind(found.st_mode)
        if kind is not None:
            raise self.refused(path, f"cannot be read: it is {kind}, not a regular file")
        if self.limit is not None and found.st_size > self.limit:
            raise self._too_large(path, f"{found.st_size} bytes")

    def _too_large(self, path: Name, size: str) -> SalaError:
        most = f"at most {self.limit} bytes ({format_bytes(self.limit or 0)})"
        return self.error(f"{self.what} has {size}", shown(path), most, self.fix)


class _Input(FileIO):
    """A file that is only read: nothing is lost if closing it fails."""

    def close(self) -> None:
        """Close, and ignore what the system says."""
        with suppress(OSError):
            super().close()


def shown(path: Name) -> str:
    """A path for a message: printable, and shortened where it is very long."""
    text = os.fsdecode(path)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    if len(text) <= SHOWN_NAME:
        return text
    half = SHOWN_NAME // 2
    return f"{text[:half]}...{text[-half:]} ({len(text)} characters)"


def special_kind(mode: int) -> str | None:
    """The kind of a file of this mode ("a pipe"); None for a regular one."""
    return next((name for is_kind, name in _KINDS if is_kind(mode)), None)


def stands(path: Name) -> bool:
    """Whether anything has this name: a file, or what `FileRule` then refuses.

    `Path.is_file` takes a pipe, or a link to nowhere, for a file that is not there.
    """
    try:
        return os.path.lexists(path)
    except ValueError:  # a NUL in the name
        return False


def reason(path: Name, problem: OSError | ValueError) -> str:
    """What is wrong with a name that the system refused, to follow the file's name."""
    if isinstance(problem, ValueError):
        return "has a name with a NUL byte or a character that no file name can have"
    if problem.errno == errno.ENOENT:
        dangling = os.path.islink(path)
        return f"cannot be read: {'the link leads nowhere' if dangling else problem.strerror}"
    if problem.errno == errno.ENAMETOOLONG:
        longest = max(len(os.fsencode(part)) for part in Path(path).parts)
        if longest > NAME_BYTES:
            return f"has a name of {longest} bytes, which is too long: {NAME_BYTES} are taken"
        return f"has a path of {len(os.fsencode(path))} bytes, which is too long"
    return f"cannot be read: {problem.strerror}"


def _first(descriptor: int, whence: int, size: int) -> int:
    """Where the first data or hole begins; if a file system cannot say, all is data."""
    try:
        return os.lseek(descriptor, 0, whence)
    except OSError as problem:
        if problem.errno == errno.ENXIO:
            return size  # nothing but a hole
        return 0 if whence == os.SEEK_DATA else size
