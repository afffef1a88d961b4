"""What a target is: which files it damages, what is put right in them, what is called."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from hypothesis.strategies import SearchStrategy

from tests.fuzz.case import Case
from tests.fuzz.edits import apply


class Wrong(Exception):
    """A result that breaks a promise, although nothing raised."""


class Target:
    """Damages files in a directory of its own and hands them to the product.

    `prepare` is called once, before processes are forked: it may import and compute whatever makes
    cases quick, but runs no kernel. `start` is called in each of these processes.
    """

    name: ClassVar[str]
    share: ClassVar[int]
    """Of 100 000 inputs, so many are of this target."""
    continuous: ClassVar[int]
    """Inputs of the run that belongs to the tests."""

    def __init__(self, fixtures: Path) -> None:
        """`fixtures` is what `tests.fuzz.fixtures` made."""
        self.fixtures = fixtures
        self.room = Path()

    def prepare(self) -> None:
        """Import what is called."""

    def start(self, room: Path) -> None:
        """Make `room` the directory of this process."""
        self.room = room

    def cases(self) -> SearchStrategy[Case]:
        """The inputs."""
        raise NotImplementedError

    def lay(self, case: Case) -> int:
        """Put the files of a case into the room; bytes of what was changed."""
        raise NotImplementedError

    def check(self, case: Case) -> None:
        """Call the product. Returns where the input is accepted, else a SalaError.

        Whatever else is raised is a failure.
        """
        raise NotImplementedError


class Folder:
    """A directory of valid files, of which each case changes some."""

    def __init__(self, source: Path, room: Path) -> None:
        """Copy `source` to `room`."""
        self.path = room
        self._source = source
        self._changed: set[str] = set()
        shutil.copytree(source, room)

    def lay(self, changes: Mapping[str, bytes | None]) -> int:
        """Make the files those of the source with these changes."""
        for name in self._changed - changes.keys():
            self._put(name, self._original(name))
        for name, data in changes.items():
            self._put(name, data)
        self._changed = set(changes)
        return sum(len(data) for data in changes.values() if data is not None)

    def _original(self, name: str) -> bytes | None:
        path = self._source / name
        return path.read_bytes() if path.is_file() else None

    def _put(self, name: str, data: bytes | None) -> None:
        path = self.path / name
        if data is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def read_files(folder: Path, *names: str) -> dict[str, bytes]:
    """The bytes of some files, or of all."""
    paths = [folder / name for name in names] or [p for p in folder.rglob("*") if p.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def changes_of(files: Mapping[str, bytes], case: Case) -> dict[str, bytes | None]:
    """The files that a case changes."""
    return apply(files, case.edits)
