"""Kept prefixes at a URL, where many servers write and read them at a time.

Files have the names of what decides their contents, so that it does not matter who writes one.
Nothing is locked: each server lists the folder again and again, and checks what it reads.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, Queue
from tempfile import TemporaryDirectory

import numpy as np

from sala_compile.runtime.errors import RequestError, StateFileError
from sala_compile.runtime.serving.kept.kept_file import (
    KeptHeader,
    KeptKind,
    UnreadableFile,
    damaged,
    header_in,
    pieces_in,
    same_but_checksums,
)
from sala_compile.runtime.serving.kept.kept_folder import KEPT_NAME, NAMED, KeptFolder
from sala_compile.runtime.serving.kept.kept_index import KeptPages, KeptState
from sala_compile.runtime.serving.kept.record_files import StateRecords, UrlRecords
from sala_compile.runtime.serving.kept.url_files import UrlFile, UrlFiles, is_url

REFRESH_SECONDS = 2.0
"""How often the folder is listed."""
_READERS = 8
"""Headers that are read at a time."""
_OLD_SECONDS = 3600.0
"""After so long a file that is not whole, or continues nothing, is nobody's work in progress."""
_LAST_SECONDS = 5.0


class SharedFolder(KeptFolder):
    """The files at a URL. Any thread may call; only `pieces`, `place` and `refresh` may wait."""

    def __init__(self, url: str, limit: int, identity: str) -> None:
        """Look at what is there, and again every few seconds until it is closed.

        RequestError if the URL cannot be used. All servers of a URL should have the same `limit`;
        each removes what it has not seen used for longest.
        """
        self._files = UrlFiles(url)
        self._seen: dict[str, tuple[UrlFile, KeptHeader]] = {}
        self._waiting: set[UrlFile] = set()
        self._errands: Queue[KeptHeader | None] = Queue()
        self._thread = threading.Thread(target=self._run, name="prefix-refresh", daemon=True)
        self._closed = False
        self._staging = TemporaryDirectory(prefix="sala-prefixes-", ignore_cleanup_errors=True)
        super().__init__(Path(self._staging.name), limit, identity)

    def _open(self) -> None:
        try:
            self.refresh()
        except OSError as problem:
            self._staging.cleanup()
            raise RequestError(
                f"the prefix directory cannot be listed: {problem}",
                where=self._files.url,
                expected="a URL to read and write",
                fix="name another one with --prefix-dir",
            ) from None
        self._thread.start()

    def records(self, model: str) -> StateRecords:
        """The records of the named states of a model; RequestError if there can be none."""
        return UrlRecords(f"{self._files.url}/{NAMED}", model)

    def close(self) -> None:
        """Remove what is to be removed, for a moment at most, and forget the rest."""
        if not self._closed:
            self._closed = True
            self._errands.put(None)
            self._thread.join(_LAST_SECONDS)
            self._staging.cleanup()

    def where(self, header: KeptHeader) -> str:
        """Where a file is, for messages."""
        return self._files.where(header.name)

    def pieces(self, header: KeptHeader) -> Iterator[np.ndarray]:
        """The pieces of a file, uint8, each checked against its checksum; they come as they are.

        StateFileError if it is damaged, UnreadableFile if it is gone or another one by now.
        """
        where = self.where(header)
        try:
            with self._files.open(header.name) as file:
                found = header_in(where, file, self._files.size(header.name) or 0)
                if not same_but_checksums(found, header):
                    raise UnreadableFile("the kept prefix is another one by now", where)
                yield from pieces_in(where, file, found)
        except OSError as problem:
            raise UnreadableFile(f"the kept prefix cannot be read: {problem}", where) from None

    def place(self, staged: Path, header: KeptHeader) -> None:
        """Send a whole file to its place, unless another server did; raises OSError."""
        if self._files.size(header.name) == header.nbytes:
            found = self._header(UrlFile(header.name, header.nbytes, 0.0))
            if found is not None and same_but_checksums(found, header):
                return
        self._files.put(staged, header.name)

    def sync(self) -> None:
        """Nothing: what was sent is there."""

    def touch(self, state: KeptState) -> None:
        """Note that a state was of use; other servers do not hear of it."""
        state.used = time.time()

    def discard(self, header: KeptHeader, problem: StateFileError) -> None:
        """As of KeptFolder; what is there now is looked at again."""
        with self._lock:
            self._seen.pop(header.name, None)
        super().discard(header, problem)

    def refresh(self) -> None:
        """Learn what others wrote and removed; raises OSError."""
        with self._lock:
            known = self._index.names()
        listed = {f.name: f for f in self._files.list() if KEPT_NAME.fullmatch(f.name)}
        fresh = [f for name, f in listed.items() if self._seen.get(name, (None, None))[0] != f]
        with ThreadPoolExecutor(_READERS, "prefix-headers") as readers:
            found = dict(zip(fresh, readers.map(self._header, fresh), strict=True))
        with self._lock:
            gone = known - listed.keys()
            for name in gone:
                self._forget(name)
            for file, header in found.items():
                self._learn(file, header)
            self._seen = {name: each for name, each in self._seen.items() if name in listed}
            self._waiting = {file for file in self._waiting if self._waits(file)}
            needless = listed.keys() - self._index.names() if found or gone else set[str]()
        for name in needless:
            modified = listed[name].modified
            if modified and time.time() - modified > _OLD_SECONDS:
                self._files.remove(name)

    def _learn(self, file: UrlFile, header: KeptHeader | None) -> None:
        """Note what a file holds; one that is not whole is looked at again."""
        before = self._seen.pop(file.name, (file, None))[1]
        if before is not None and (header is None or not same_but_checksums(before, header)):
            self._forget(file.name)
        if header is not None:
            self._seen[file.name] = file, header
            if header.kind is KeptKind.STATE:
                self._waiting.add(file)

    def _waits(self, file: UrlFile) -> bool:
        """Add a state if it is there with all of its pages; whether it waits for some."""
        found = self._seen.get(file.name)
        if found is None or found[0] != file:
            return False
        header = found[1]
        return self._index.state(header) is None and not self._adopt(header, file.modified)

    def _adopt(self, state: KeptHeader, used: float) -> bool:
        """Add a state, and those of its pages that the index does not have; whether it could."""
        chain: list[KeptHeader] = []
        stem = state.parent
        while stem and self._index.pages(stem) is None:
            found = self._seen.get(f"{stem}.{KeptKind.PAGES}")
            if found is None or len(chain) > state.end:
                return False
            header = found[1]
            chain.append(header)
            stem = header.parent
        pages = self._index.pages(stem) if stem else None
        added: list[KeptPages] = []
        for header in reversed(chain):
            if header.begin == _end(pages):
                pages = self._index.add_pages(header, pages)
                added.append(pages)
        whole = len(added) == len(chain) and state.begin == _end(pages)
        if whole:
            self._index.add_state(state, pages, used)
        for each in reversed(added):
            self._index.need_less(each)
        return whole

    def _forget(self, name: str) -> None:
        """Drop a file that is gone, and what continues it."""
        header = self._index.named(name)
        if header is not None:
            self.counts["gone"] += 1
            self._index.drop_damaged(header)

    def _header(self, file: UrlFile) -> KeptHeader | None:
        """The header of a file; None for one that is not whole, or not yet."""
        where = self._files.where(file.name)
        try:
            with self._files.open(file.name) as opened:
                header = header_in(where, opened, file.size)
            if header.name != file.name:
                raise damaged(where, "has the contents of another file")
        except (OSError, StateFileError):
            return None
        return header

    def _unlink(self, headers: Iterable[KeptHeader]) -> None:
        """Have files removed, by a thread of its own."""
        for header in headers:
            self._errands.put(header)

    def _run(self) -> None:
        due = time.monotonic() + REFRESH_SECONDS
        while True:
            try:
                header = self._errands.get(timeout=max(0.0, due - time.monotonic()))
                if header is None:
                    return
                self._files.remove(header.name)
            except Empty:
                due = time.monotonic() + REFRESH_SECONDS
                self._try_refresh()
            except OSError as problem:
                self.tell("not_removed", f"a file cannot be removed: {problem}")

    def _try_refresh(self) -> None:
        try:
            self.refresh()
            if self.when_refreshed is not None:
                self.when_refreshed()
        except OSError as problem:
            self.tell("not_listed", f"{self._files.url} cannot be listed: {problem}")


def folder_at(place: Path | str, limit: int, identity: str) -> KeptFolder:
    """The folder of a directory, for one server, or of a URL, for many."""
    if isinstance(place, str) and is_url(place):
        return SharedFolder(place, limit, identity)
    return KeptFolder(Path(place), limit, identity)


def _end(pages: KeptPages | None) -> int:
    return 0 if pages is None else pages.header.end
