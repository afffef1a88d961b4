"""Files of a folder that a URL names, by fsspec: of this machine, of memory, of an object store.

Every call may wait for a network: for threads that nobody decodes on.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from sala_compile.runtime.errors import RequestError, SalaError

_BLOCK = 8 << 20
"""Bytes that a reader asks for at a time."""
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")
"""Under which names file systems say when a file was written."""


@dataclass(frozen=True, slots=True)
class UrlFile:
    """A file of `size` bytes, written at `modified` in seconds, 0 where that is not known."""

    name: str
    size: int
    modified: float


class UrlFiles:
    """The files of one folder. Any thread may call; every call raises OSError for what fails."""

    def __init__(self, url: str) -> None:
        """For a folder, which is made where file systems have some.

        RequestError without fsspec, for a protocol that it does not know, or that lacks a package.
        """
        self.url = url.rstrip("/")
        try:
            library: Any = importlib.import_module("fsspec")
        except ImportError:
            raise RequestError(
                "a URL needs a package that is not installed: fsspec",
                where=url,
                expected="the extra [ray], or a directory of this machine",
                fix="pip install 'sala-compile[ray]'",
            ) from None
        try:
            self._system, root = library.core.url_to_fs(self.url, use_listings_cache=False)
            self._root = str(root).rstrip("/")
            self._system.makedirs(self._root, exist_ok=True)
        except (ValueError, ImportError, OSError) as problem:
            raise RequestError(
                f"the folder of a URL cannot be used: {problem}",
                where=url,
                expected="a URL that fsspec reads and writes, such as s3://bucket/folder",
                fix="install the package of its protocol, or give it rights to write",
            ) from None

    def where(self, name: str) -> str:
        """The URL of a file, for messages."""
        return f"{self.url}/{name}"

    def list(self) -> list[UrlFile]:
        """The files of the folder, without those of folders in it."""
        try:
            with _as_os_error():
                found = self._system.ls(self._root, detail=True, refresh=True)
        except FileNotFoundError:
            return []
        entries = cast("list[dict[str, Any]]", found)
        return [_entry(each) for each in entries if each["type"] == "file"]

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if it is not there."""
        try:
            with _as_os_error():
                return int(self._system.info(self._path(name), refresh=True)["size"])
        except FileNotFoundError:
            return None

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A file to be read from its beginning on."""
        with _as_os_error(), self._system.open(self._path(name), "rb", block_size=_BLOCK) as file:
            yield cast("BinaryIO", file)

    def put(self, path: Path, name: str) -> None:
        """Copy a file of this machine to the folder, piece by piece."""
        with _as_os_error():
            self._system.put_file(str(path), self._path(name))

    def read(self, name: str) -> bytes:
        """All bytes of a small file."""
        with _as_os_error():
            return bytes(self._system.cat_file(self._path(name)))

    def write(self, name: str, data: bytes) -> None:
        """Make a small file, or replace it."""
        with _as_os_error():
            self._system.pipe_file(self._path(name), data)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError), _as_os_error():
            self._system.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


def is_url(place: object) -> bool:
    """Whether a text names a place by a protocol."""
    return isinstance(place, str) and "://" in place


@contextmanager
def _as_os_error() -> Iterator[None]:
    """What packages of object stores raise as OSError, which callers know."""
    try:
        yield
    except (OSError, SalaError):
        raise
    except Exception as problem:
        raise OSError(f"{type(problem).__name__}: {problem}") from None


def _entry(found: dict[str, Any]) -> UrlFile:
    when: Any = next((found[name] for name in _TIMES if found.get(name) is not None), 0)
    seconds = when.timestamp() if isinstance(when, datetime) else when
    modified = float(seconds) if isinstance(seconds, int | float) else 0.0
    return UrlFile(str(found["name"]).rpartition("/")[2], int(found["size"] or 0), modified)
