"""The answers of a batch: two files of lines, which a run that was ended goes on with."""

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from sala_compile.runtime.artifact.replace import write_whole
from sala_compile.runtime.errors import RequestError

ANSWERS, ERRORS, ABOUT = "output.jsonl", "errors.jsonl", "batch.json"


class BatchOutput:
    """A directory with an answer for each request that is done, and no more than one."""

    def __init__(self, directory: Path, about: dict[str, str]) -> None:
        """Open or make it; `about` says of which requests and model the answers are.

        RequestError if it is another's, in use, or cannot be written. A last line that was cut is
        removed.
        """
        self.directory = directory
        self.done: set[str] = set()
        """The ids of the requests that have an answer, or an error."""
        self.failures = 0
        self._files: dict[str, BinaryIO] = {}
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._check(about)
            for name in (ANSWERS, ERRORS):
                self._files[name] = self._opened(name)
        except OSError as problem:
            self.close()
            raise RequestError(
                f"the directory of answers cannot be used: {problem.strerror}",
                where=str(directory),
                expected="a directory to read and write",
            ) from None
        except BaseException:
            self.close()
            raise

    def write(self, line: dict[str, Any]) -> bool:
        """Add the line of a request that has none; whether it had none."""
        if line["custom_id"] in self.done:
            return False
        response = line["response"]
        fails = response is None or response["status_code"] != 200
        file = self._files[ERRORS if fails else ANSWERS]
        file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        file.flush()
        self.done.add(line["custom_id"])
        self.failures += fails
        return True

    def close(self) -> None:
        """Make all lines durable."""
        for file in self._files.values():
            with suppress(OSError):
                os.fsync(file.fileno())
            file.close()
        self._files.clear()

    def _check(self, about: dict[str, str]) -> None:
        path = self.directory / ABOUT
        if not path.exists():
            write_whole(path, json.dumps(about, indent=1).encode())
            return
        try:
            found: Any = json.loads(path.read_bytes())
        except ValueError:
            found = None
        if found != about:
            differs = [n for n in about if not isinstance(found, dict) or found.get(n) != about[n]]
            raise RequestError(
                f"the directory has answers of another batch: {', '.join(differs)} differ",
                where=str(self.directory),
                expected="an empty directory, or that of a run of the same requests and model",
                fix="give another --output",
            )

    def _opened(self, name: str) -> BinaryIO:
        """A file of lines, locked, at its end; its answers are done."""
        file = (self.directory / name).open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise RequestError(
                "another run writes to the directory", str(self.directory), "one at a time"
            ) from None
        file.seek(0)
        whole = 0
        for data in file:
            try:
                line = json.loads(data) if data.endswith(b"\n") else None
            except ValueError:
                line = None
            if line is None:
                break
            whole += len(data)
            self.done.add(line["custom_id"])
            self.failures += name == ERRORS
        file.truncate(whole)
        file.seek(0, os.SEEK_END)
        return file
