"""The records of named states, as files of a directory or of a URL."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from sala_compile.runtime.errors import RequestError, StateFileError
from sala_compile.runtime.serving.kept.named_state import (
    RECORD_SUFFIX,
    NamedState,
    parsed_record,
    read_record,
    record_bytes,
    record_name,
    write_record,
)
from sala_compile.runtime.serving.kept.url_files import UrlFile, UrlFiles

Tell = Callable[[StateFileError], None]


class StateRecords(Protocol):
    """Where the records of one model's named states are. Any thread may call."""

    is_shared: bool
    """Whether others add and remove records as well."""

    def all(self, tell: Tell) -> list[NamedState]:
        """Those that are there and whole, without their texts; `tell` hears of damaged ones."""
        ...

    def read(self, name: str) -> NamedState:
        """The record of an id; StateFileError if it is not there, or damaged."""
        ...

    def write(self, state: NamedState) -> None:
        """Write a record durably, in the place of an older one of its id; raises OSError."""
        ...

    def remove(self, name: str) -> None:
        """Remove the record of an id, if there is one."""
        ...


class RecordFiles:
    """Records in a directory, which is made if need be."""

    is_shared = False

    def __init__(self, folder: Path, model: str) -> None:
        """For the model with that digest; RequestError if there can be no such directory."""
        self._folder = folder
        self._model = model
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as problem:
            raise RequestError(
                f"states cannot be saved: {problem.strerror}", where=str(folder)
            ) from None

    def all(self, tell: Tell) -> list[NamedState]:
        """Those that are there and whole, without their texts; `tell` hears of damaged ones."""
        found: list[NamedState] = []
        for path in sorted(self._folder.glob(f"*{RECORD_SUFFIX}")):
            try:
                state = read_record(path)
            except StateFileError as problem:
                tell(problem)
                continue
            if state.model == self._model and path == self._path(state.id):
                found.append(state.light())
        return found

    def read(self, name: str) -> NamedState:
        """The record of an id; StateFileError if it is not there, or damaged."""
        return read_record(self._path(name))

    def write(self, state: NamedState) -> None:
        """Write a record durably, in the place of an older one of its id; raises OSError."""
        write_record(self._path(state.id), state)

    def remove(self, name: str) -> None:
        """Remove the record of an id, if there is one."""
        with suppress(OSError):
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / record_name(self._model, name)


class UrlRecords:
    """Records that many servers share, in a folder of a URL."""

    is_shared = True

    def __init__(self, url: str, model: str) -> None:
        """For the model with that digest; RequestError as of UrlFiles."""
        self._files = UrlFiles(url)
        self._model = model
        self._known: dict[UrlFile, NamedState] = {}

    def all(self, tell: Tell) -> list[NamedState]:
        """Those that are there and whole, without their texts; `tell` hears of damaged ones.

        What was read before and is as it was is not read again. StateFileError if the folder
        cannot be listed.
        """
        try:
            listed = [f for f in self._files.list() if f.name.endswith(RECORD_SUFFIX)]
        except OSError as problem:
            raise _unreadable(self._files.url, problem) from None
        known, self._known = self._known, {}
        for file in listed:
            try:
                state = known.get(file) or self._state(file.name)
            except FileNotFoundError:
                continue  # somebody removed it just now
            except OSError as problem:
                tell(_unreadable(self._files.where(file.name), problem))
                continue
            except StateFileError as problem:
                tell(problem)
                continue
            if state.model == self._model and file.name == record_name(self._model, state.id):
                self._known[file] = state
        return [*self._known.values()]

    def _state(self, file: str) -> NamedState:
        return parsed_record(self._files.read(file), self._files.where(file)).light()

    def read(self, name: str) -> NamedState:
        """The record of an id; StateFileError if it is not there, or damaged."""
        file = record_name(self._model, name)
        try:
            return parsed_record(self._files.read(file), self._files.where(file))
        except OSError as problem:
            raise _unreadable(self._files.where(file), problem) from None

    def write(self, state: NamedState) -> None:
        """Write a record durably, in the place of an older one of its id; raises OSError."""
        self._files.write(record_name(self._model, state.id), record_bytes(state))

    def remove(self, name: str) -> None:
        """Remove the record of an id, if there is one."""
        with suppress(OSError):
            self._files.remove(record_name(self._model, name))


def _unreadable(where: str, problem: OSError) -> StateFileError:
    return StateFileError(f"the saved state cannot be read: {problem}", where=where)
