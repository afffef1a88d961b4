"""Files that a command writes: checked before its work, and whole or as before at its end."""

import errno
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from sala_compile.runtime.artifact.replace import NotDurableError, write_whole
from sala_compile.runtime.artifact.staging import staged_file
from sala_compile.runtime.common.files import Name, reason, shown, special_kind
from sala_compile.runtime.common.units import format_bytes
from sala_compile.runtime.errors import RequestError, SalaError


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRule:
    """What a written file is called in messages ("the plot"), and the error if it cannot be.

    If the name is a symbolic link, the file behind it is written and the link stays.
    """

    what: str
    error: type[SalaError] = RequestError
    fix: str = "name a file in a directory that can be written"

    def check(self, path: Name, room: int = 0) -> Path:
        """The absolute path of the file to be written, with free space for `room` bytes.

        Raises `error` if its directory does not exist or cannot be written, or if the path is
        something else than a regular file or may not be replaced. Nothing is changed.
        """
        place = self._place(path)
        if not place.parent.is_dir():
            raise self._refused(path, f"cannot be written: there is no directory {place.parent}")
        try:
            self._check_old(path, place)
            with staged_file(place):
                free = shutil.disk_usage(place.parent).free
        except OSError as problem:
            raise self.failed(path, problem) from None
        if free < room:
            raise self.error(
                f"{self.what} takes {format_bytes(room)}, and {format_bytes(free)} are free",
                where=shown(path),
                expected=f"{room} bytes of free space",
                fix="free space, or choose another directory; nothing was written",
            )
        return place

    def write(self, path: Name, data: bytes) -> None:
        """Write the file: it is there whole and durable or, with an `error`, as it was before."""
        place = self._place(path)
        try:
            self._check_old(path, place)
            write_whole(place, data)
        except OSError as problem:
            raise self.failed(path, problem) from None

    def failed(self, path: Name, problem: OSError) -> SalaError:
        """The error for an attempt to write that ended with `problem`."""
        if isinstance(problem, NotDurableError):
            return self.error(
                f"{self.what} is there, but its directory cannot be synced: {problem.strerror}",
                where=shown(path),
                fix="it may be lost if the machine fails now: check the disk, and write it again",
            )
        why = reason(path, problem) if problem.errno == errno.ENAMETOOLONG else None
        return self.error(
            f"{self.what} {why or f'cannot be written: {problem.strerror or problem}'}",
            where=shown(path),
            expected="a writable directory with enough free space; what was there is as it was",
            fix=self.fix,
        )

    def _place(self, path: Name) -> Path:
        try:
            return Path(os.path.realpath(path))
        except ValueError as problem:
            raise self._refused(path, reason(path, problem)) from None

    def _check_old(self, path: Name, place: Path) -> None:
        """Refuse what cannot be replaced by a file, or is protected from writing."""
        try:
            mode = place.lstat().st_mode
        except FileNotFoundError:
            return
        if stat.S_ISLNK(mode):
            raise self._refused(path, "is a symbolic link that leads nowhere, round in a circle")
        kind = special_kind(mode)
        if kind is not None:
            raise self._refused(path, f"cannot be written: {kind} is there")
        if not os.access(place, os.W_OK):
            raise self._refused(path, "cannot be written: a read-only file is there")

    def _refused(self, path: Name, found: str) -> SalaError:
        return self.error(
            f"{self.what} {found}",
            where=shown(path),
            expected="a new file, or a regular one to be replaced",
            fix=self.fix,
        )
