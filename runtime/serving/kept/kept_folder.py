"""The directory of kept prefixes: one process at a time, bounded, and whole after any crash."""

import errno
import fcntl
import logging
import os
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from sala_compile.runtime.artifact.replace import sync_directory
from sala_compile.runtime.common.files import shown
from sala_compile.runtime.errors import RequestError, StateFileError
from sala_compile.runtime.serving.kept.kept_file import (
    PRIVATE,
    KeptHeader,
    KeptKind,
    UnreadableFile,
    damaged,
    read_kept_header,
    read_kept_pieces,
)
from sala_compile.runtime.serving.kept.kept_index import KeptIndex, KeptPages, KeptState
from sala_compile.runtime.serving.kept.record_files import RecordFiles, StateRecords

LOCK = "in-use.lock"
NAMED = "named"
"""The folder of states that have a name."""
PARTIAL = ".partial"
KEPT_NAME = re.compile(rf"[0-9a-f]{{32}}\.({'|'.join(KeptKind)})")
_LEFT = re.compile(rf"[0-9a-f]{{32}}\.({'|'.join(KeptKind)}){re.escape(PARTIAL)}")
_OWN = (LOCK, NAMED)
_FREE = 64 << 20
"""Bytes that are left free for others on a file system."""
_log = logging.getLogger("sala_compile.serving.kept")


class KeptFolder:
    """The files in a directory, and which of them are whole. Any thread may call."""

    def __init__(self, directory: Path, limit: int, identity: str) -> None:
        """Lock the directory, which is made if need be, and look at what is there.

        RequestError if another process has it, or if it cannot be written. What is torn, damaged or
        without what it continues is removed; files of others stay.
        """
        self.directory = directory
        self.limit = limit
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._index = KeptIndex(identity)
        self._told: set[str] = set()
        self._pins: Counter[str] = Counter()
        self._descriptor = -1
        self.when_refreshed: Callable[[], None] | None = None
        """Called, by a thread of its own, when others may have changed what is there."""
        self._open()

    def _open(self) -> None:
        self._descriptor = _locked(self.directory)
        try:
            self._scan()
            self.make_room(0)
        except BaseException as problem:
            self.close()
            if isinstance(problem, OSError):
                raise _unusable(self.directory, problem) from None
            raise

    def records(self, model: str) -> StateRecords:
        """The records of the named states of a model; RequestError if there can be none."""
        return RecordFiles(self.directory / NAMED, model)

    def close(self) -> None:
        """Let another process have the directory."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)

    def path(self, header: KeptHeader) -> Path:
        """Where a file is; one that has its place elsewhere is staged beside it."""
        return self.directory / header.name

    def where(self, header: KeptHeader) -> Path | str:
        """Where a file is, for messages."""
        return self.path(header)

    def pieces(self, header: KeptHeader) -> Iterator[np.ndarray]:
        """The pieces of a file, as `read_kept_pieces` gives them."""
        return read_kept_pieces(self.path(header), header)

    def place(self, staged: Path, header: KeptHeader) -> None:
        """Give a whole file its name; raises OSError."""
        staged.replace(self.path(header))

    def sync(self) -> None:
        """Make the names of files durable; raises OSError."""
        sync_directory(self.directory)

    def pages(self, header: KeptHeader) -> KeptPages | None:
        """The pages with the key of a header, if they are there; they are needed from now on."""
        with self._lock:
            found = self._index.pages(header)
            if found is not None:
                found.needed += 1
            return found

    def need_less(self, pages: KeptPages | None) -> None:
        """Need pages once less."""
        with self._lock:
            gone = self._index.need_less(pages)
        self._unlink(gone)

    def of_text(self, text: bytes, exact: bool) -> KeptState | None:
        """The state after the text with this digest; it is held from now on."""
        with self._lock:
            state = self._index.of_text(text, exact)
            if state is not None:
                state.holds += 1
            return state

    def tails(self, boundary: bytes) -> list[int]:
        """How many tokens there are after these whole pages, before states; the longest first."""
        with self._lock:
            return self._index.tails(boundary)

    def state(self, header: KeptHeader) -> KeptState | None:
        """The state with the key of a header."""
        with self._lock:
            return self._index.state(header)

    def let_go(self, state: KeptState) -> None:
        """Hold a state once less."""
        with self._lock:
            self._index.let_go(state)

    def pin(self, stem: str) -> bool:
        """Keep a state until `unpin`; False if it is not there, or too much would be pinned."""
        with self._lock:
            state = self._index.named_state(stem)
            if state is None:
                return False
            pinned = [self._index.named_state(each) for each in self._pins]
            if 2 * self._index.bytes_of([state, *filter(None, pinned)]) > self.limit:
                return False
            self._pins[stem] += 1
            state.holds += 1
            return True

    def unpin(self, stem: str, *, remove: bool = False) -> None:
        """Keep a state no longer than others, or with `remove` not at all if nobody else does."""
        gone: list[KeptHeader] = []
        with self._lock:
            state = self._index.named_state(stem)
            if stem in self._pins:
                self._pins -= Counter({stem: 1})
                if state is not None:
                    self._index.let_go(state)
            if remove and state is not None and not state.holds:
                gone = self._index.drop_state(state)
        self._unlink(gone)

    def size(self, stem: str) -> int:
        """Bytes of a state and of all pages before it; 0 if it is not there."""
        with self._lock:
            state = self._index.named_state(stem)
            return 0 if state is None else self._index.bytes_of([state])

    def touch(self, state: KeptState) -> None:
        """Note that a state was of use; its order in the next process as well."""
        state.used = time.time()
        with suppress(OSError):
            os.utime(self.path(state.header), (state.used, state.used))

    def make_room(self, nbytes: int) -> bool:
        """Remove the least used states until `nbytes` more fit; whether they do."""
        while nbytes <= self.limit:
            with self._lock:
                if self._index.nbytes + nbytes <= self.limit:
                    return nbytes == 0 or self._free() >= nbytes + _FREE
                state = self._index.least_used()
                gone = [] if state is None else self._index.drop_state(state)
            if not gone:
                return False
            self.counts["evictions"] += 1
            self._unlink(gone)
        return False

    def publish_pages(self, header: KeptHeader, parent: KeptPages | None) -> KeptPages | None:
        """Note a file of pages that is in place; they are needed from now on.

        None if what they continue is damaged, and the file is gone.
        """
        with self._lock:
            if self._index.has(parent) and self._index.pages(header) is None:
                return self._index.add_pages(header, parent)
        self._unlink([header])
        return None

    def publish_state(self, header: KeptHeader, pages: KeptPages | None) -> KeptState | None:
        """Note a file with a state that is in place; None as in `publish_pages`."""
        with self._lock:
            if self._index.has(pages) and self._index.state(header) is None:
                self.counts["written"] += 1
                return self._index.add_state(header, pages, time.time())
        self._unlink([header])
        return None

    def discard(self, header: KeptHeader, problem: StateFileError) -> None:
        """Remove a damaged file with all that continues it; forget one that cannot be read."""
        with self._lock:
            gone = self._index.drop_damaged(header)
        self._tell_of(problem)
        if not isinstance(problem, UnreadableFile):
            self._unlink(gone)

    def tell(self, kind: str, what: str) -> None:
        """Count something that went wrong, and log the first of its kind."""
        self.counts[kind] += 1
        if kind not in self._told:
            self._told.add(kind)
            _log.warning("prefix directory: %s (%s; further ones are counted)", what, kind)

    def info(self) -> dict[str, int]:
        """Sizes and counters."""
        with self._lock:
            sizes = {"files": len(self._index), "states": self._index.states}
            return {**sizes, "bytes": self._index.nbytes, **self.counts}

    def _free(self) -> int:
        """Bytes that the file system has left."""
        return shutil.disk_usage(self.directory).free

    def _unlink(self, headers: Iterable[KeptHeader]) -> None:
        for header in headers:
            self._remove(self.path(header))

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as problem:
            self.tell("not_removed", f"{path.name} cannot be removed: {problem.strerror}")

    def _scan(self) -> None:
        """Read all headers, and remove what is of no use."""
        found: list[tuple[KeptHeader, float]] = []
        for entry in sorted(os.scandir(self.directory), key=lambda each: each.name):
            if _LEFT.fullmatch(entry.name):
                self.counts["unfinished"] += 1
                self._remove(Path(entry.path))
            elif not KEPT_NAME.fullmatch(entry.name):
                self.counts["foreign"] += entry.name not in _OWN
            else:
                header = self._whole(Path(entry.path))
                if header is not None:
                    found.append((header, entry.stat(follow_symlinks=False).st_mtime))
        found.sort(key=lambda each: (each[0].kind, each[0].begin, each[1]))
        needless = [header for header, used in found if not self._place(header, used)]
        self.counts["orphans"] += len(needless)
        needless += self._index.sweep()
        if not self.counts["unreadable"]:  # their parents may be readable soon
            self._unlink(needless)

    def _place(self, header: KeptHeader, used: float) -> bool:
        """Add a file that continues another one which is there, or none; False if it does not."""
        pages = self._index.pages(header.parent) if header.parent else None
        begin = 0 if pages is None else pages.header.end
        if begin != header.begin or (header.parent and pages is None):
            return False
        if header.kind is KeptKind.PAGES:
            self._index.add_pages(header, pages)
        else:
            self._index.add_state(header, pages, used)
        return True

    def _whole(self, path: Path) -> KeptHeader | None:
        """The header of a file that has the size and the name that it says; others are removed."""
        try:
            header = read_kept_header(path)
            if path.name != header.name:
                raise damaged(path, "has the contents of another file")
        except StateFileError as problem:
            self._tell_of(problem)
            if not isinstance(problem, UnreadableFile):
                self._remove(path)
            return None
        return header

    def _tell_of(self, problem: StateFileError) -> None:
        kind = "unreadable" if isinstance(problem, UnreadableFile) else "damaged"
        self.tell(kind, problem.found)


def _locked(directory: Path) -> int:
    """A descriptor that holds the lock of a directory; RequestError if another process does."""
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(directory / LOCK, flags, PRIVATE)
    except (OSError, ValueError) as problem:
        raise _unusable(directory, problem) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        os.close(descriptor)
        taken = problem.errno in (errno.EWOULDBLOCK, errno.EACCES)
        why = "is in use by another server" if taken else f"cannot be locked: {problem.strerror}"
        raise _refused(directory, why, "a directory of its own for each server") from None
    return descriptor


def _unusable(directory: Path, problem: OSError | ValueError) -> RequestError:
    why = getattr(problem, "strerror", None) or str(problem)
    return _refused(directory, f"cannot be used: {why}", "a directory to read and write")


def _refused(directory: Path, why: str, expected: str) -> RequestError:
    return RequestError(
        f"the prefix directory {why}",
        where=shown(directory),
        expected=expected,
        fix="name another directory with --prefix-dir, or end the other server",
    )
