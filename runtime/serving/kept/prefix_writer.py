"""A thread that writes prefixes to disk, from pieces that the engine's thread copies."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

import numpy as np

from sala_compile.runtime.serving.kept.kept_file import PRIVATE, KeptFileWriter, KeptHeader
from sala_compile.runtime.serving.kept.kept_folder import PARTIAL, KeptFolder
from sala_compile.runtime.serving.kept.kept_index import KeptPages

QUEUED_PIECES = 4
REST_SECONDS = 30.0
"""How long nothing is written after the disk refused something."""


@dataclass(eq=False, slots=True)
class PrefixWriting:
    """A prefix on its way to disk: pages that continue those of `parent`, and the state after them.

    `pages` is None if `parent` are all of them. The thread sets `failed` where it takes no more
    pieces, and `finished` at the end.
    """

    pages: KeptHeader | None
    state: KeptHeader
    parent: KeptPages | None
    failed: bool = False
    finished: bool = False

    @property
    def headers(self) -> list[KeptHeader]:
        """Those of the files, in the order in which their pieces come."""
        return [self.state] if self.pages is None else [self.pages, self.state]


Item = PrefixWriting | np.ndarray | bool
"""A writing, its pieces one by one, and whether those were all."""


class _GivenUp(Exception):
    """The prefix left memory before all of it was copied."""


class PrefixWriter:
    """Writes what it is given, one prefix after the other."""

    def __init__(self, folder: KeptFolder, wake: Callable[[], None]) -> None:
        """`wake` is called from the thread when there is room for more, or a prefix is done."""
        self._folder = folder
        self._wake = wake
        self._queue: Queue[Item | None] = Queue(QUEUED_PIECES)
        self._rests_until = 0.0
        self._thread = threading.Thread(target=self._run, name="prefix-writer", daemon=True)
        self._thread.start()

    @property
    def has_room(self) -> bool:
        """Whether `put` would not wait."""
        return not self._queue.full()

    @property
    def rests(self) -> bool:
        """Whether the disk refused something a moment ago."""
        return time.monotonic() < self._rests_until

    def put(self, item: Item) -> None:
        """Hand over the next item."""
        self._queue.put(item)

    def stop(self) -> None:
        """Give up what is not complete, and end the thread."""
        self._queue.put(False)
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, PrefixWriting):
                self._write(item)
                item.finished = True
                self._wake()

    def _write(self, writing: PrefixWriting) -> None:
        """Write all files of a prefix, or none; then skip to the end of its items."""
        last: object = None
        try:
            with ExitStack() as staged:
                paths = [staged.enter_context(self._staged(each)) for each in writing.headers]
                if not self._folder.make_room(sum(each.nbytes for each in writing.headers)):
                    self._folder.tell("no_room", "there is no room for another prefix")
                    writing.failed = True
                    return
                for path, header in zip(paths, writing.headers, strict=True):
                    self._fill(path, header)
                last = self._next()
                if last is True:
                    self._place(paths, writing)
        except _GivenUp:
            last = False
        except OSError as problem:
            writing.failed = True
            self._rests_until = time.monotonic() + REST_SECONDS
            self._folder.tell("write_errors", f"a prefix cannot be written: {problem.strerror}")
        finally:
            while not isinstance(last, bool):
                last = self._next()

    def _place(self, paths: list[Path], writing: PrefixWriting) -> None:
        """Give the whole files their names: the pages first, without which a state is nothing."""
        folder, pages = self._folder, writing.parent
        if writing.pages is not None:
            folder.place(paths[0], writing.pages)
            pages = folder.publish_pages(writing.pages, writing.parent)
            if pages is None:
                return
        try:
            folder.place(paths[-1], writing.state)
            folder.publish_state(writing.state, pages)
        finally:
            if writing.pages is not None:
                folder.need_less(pages)
        folder.sync()

    def _fill(self, path: Path, header: KeptHeader) -> None:
        with path.open("r+b") as file:
            writer = KeptFileWriter(file, header)
            for _ in header.sizes:
                data = self._next()
                if not isinstance(data, np.ndarray):
                    raise _GivenUp
                writer.write(data)
            writer.finish()

    @contextmanager
    def _staged(self, header: KeptHeader) -> Iterator[Path]:
        """An empty file, gone at the end of the block unless it was moved."""
        path = self._folder.path(header)
        path = path.with_name(path.name + PARTIAL)
        os.close(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW, PRIVATE))
        try:
            yield path
        finally:
            with suppress(OSError):
                path.unlink()

    def _next(self) -> Item | None:
        item = self._queue.get()
        self._wake()
        return item
