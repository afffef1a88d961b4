"""Compiled kernels that all processes of a test run share: each library is compiled once."""

import fcntl
import os
from collections.abc import Iterator, MutableMapping
from contextlib import ExitStack
from pathlib import Path

from sala_compile.codegen.targets import cpu

FOLDER = "SALA_TEST_OBJECTS"
"""The variable that names the folder, for processes that tests start."""


class SharedObjects(MutableMapping[str, tuple[bytes, ...]]):
    """The objects of libraries by their content, in a folder.

    Who finds none is the one that compiles: others wait until it has stored them, or asks for
    something else, or ends.
    """

    def __init__(self, folder: Path) -> None:
        """The folder of one test run."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._mine = ExitStack()

    def __getitem__(self, key: str) -> tuple[bytes, ...]:
        self._mine.close()
        file = self._folder / key
        if not file.exists():
            lock = self._mine.enter_context((self._folder / f"{key}.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not file.exists():
                raise KeyError(key)
            self._mine.close()
        data, objects = file.read_bytes(), list[bytes]()
        while data:
            end = 8 + int.from_bytes(data[:8], "little")
            objects.append(data[8:end])
            data = data[end:]
        return tuple(objects)

    def __setitem__(self, key: str, objects: tuple[bytes, ...]) -> None:
        fresh = self._folder / f"{key}.{os.getpid()}"
        fresh.write_bytes(b"".join(len(each).to_bytes(8, "little") + each for each in objects))
        fresh.replace(self._folder / key)
        self._mine.close()

    def __delitem__(self, key: str) -> None:
        (self._folder / key).unlink()

    def __iter__(self) -> Iterator[str]:
        return (path.name for path in self._folder.iterdir() if not path.suffix)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def share_objects() -> None:
    """Let the compiler of this process take from the folder what others have compiled."""
    folder = os.environ.get(FOLDER)
    if folder and not isinstance(cpu.compiled_objects, SharedObjects):
        cpu.compiled_objects = SharedObjects(Path(folder))
