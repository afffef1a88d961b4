"""The process of a side, as the program that measures sees it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from sala_compile.runtime.common.timing import Sample

ROOT = Path(__file__).resolve().parents[2]


class SideProcess:
    """A side that works only while it is asked."""

    def __init__(self, python: str, module: str, options: dict[str, Any]) -> None:
        """Start `python -m module` and wait until its model is loaded."""
        threads = str(options["threads"])
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": threads}
        self._module = module
        self._process = subprocess.Popen(
            [python, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        self.versions: dict[str, str] = self._ask(options)

    def prepare(self, batch: int, length: int, room: int) -> None:
        """Hold `batch` sequences of `length` tokens each, with room for `room` more in each."""
        self._ask({"do": "prepare", "batch": batch, "length": length, "room": room})

    def read(self, tokens: int) -> Sample:
        """Time a prompt of so many tokens."""
        return Sample(**self._ask({"do": "read", "tokens": tokens}))

    def grow(self, tokens: int) -> Sample:
        """Time so many tokens more of the first sequence."""
        return Sample(**self._ask({"do": "grow", "tokens": tokens}))

    def first(self, tokens: int) -> None:
        """Read a prompt at once, to its first token."""
        self._ask({"do": "first", "tokens": tokens})

    def decode(self, steps: int) -> Sample:
        """Time so many steps of all sequences."""
        return Sample(**self._ask({"do": "decode", "steps": steps}))

    def memory(self) -> dict[str, int]:
        """Resident bytes."""
        return self._ask({"do": "memory"})

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, request: dict[str, Any]) -> Any:
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        pipe_in.write(json.dumps(request) + "\n")
        pipe_in.flush()
        line = pipe_out.readline()
        if not line:
            raise SystemExit(f"{self._module} ended early; its error is above")
        return json.loads(line)
