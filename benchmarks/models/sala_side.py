"""This project's runtime on a compiled artifact."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import sala_compile
from benchmarks.models.side import Side, serve
from benchmarks.random_state import write_random_state
from sala_compile.runtime.common.hidden_torch import hide_torch


class SalaSide(Side):
    """One artifact; sequences of a history begin with random keys and values."""

    def __init__(self, options: dict[str, Any]) -> None:
        """Take the artifact `model` for `threads` threads; it is loaded for each size."""
        self._path, self._threads = Path(options["model"]), options["threads"]
        self._model: Any = None
        self.versions = {}

    def prepare(self, batch: int, length: int, room: int) -> None:
        """Hold `batch` sequences of `length` tokens each, with room for `room` more in each."""
        if self._model is not None:
            self._model.close()
        self._model = sala_compile.load(
            self._path, context=length + room, batch=batch, threads=self._threads
        )
        self._sequences = [] if length else [self._model.sequence()]
        if length:
            with TemporaryDirectory(prefix="sala-state-") as folder:
                path = Path(folder) / "state"
                write_random_state(self._path, path, length)
                self._sequences = [self._model.restore(path) for _ in range(batch)]
        self._tokens = [3 + index for index in range(batch)]

    def step(self) -> None:
        """Decode one token of every sequence; the likeliest is the next."""
        logits = self._model.decode(self._sequences, self._tokens)
        self._tokens = [int(row.argmax()) for row in logits]

    def read(self, tokens: int) -> None:
        """Read a prompt of so many tokens into an empty sequence, to the logits of the last."""
        ids = np.random.default_rng(0).integers(3, self._model.vocabulary, tokens)
        self._sequences.pop().close()
        self._sequences = [self._model.sequence()]
        self._sequences[0].append(ids).argmax()

    def grow(self, tokens: int) -> None:
        """Read so many tokens more into the first sequence."""
        ids = np.random.default_rng(tokens).integers(3, self._model.vocabulary, tokens)
        self._sequences[0].append(ids).argmax()


if __name__ == "__main__":
    hide_torch()  # as the commands do
    serve(SalaSide)
