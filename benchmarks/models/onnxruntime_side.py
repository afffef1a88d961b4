"""onnxruntime on a model that `sala-compile --emit onnx` wrote."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.models.side import Side, serve
from sala_compile.codegen.onnx_export.model_session import ModelSession, open_session


class OnnxruntimeSide(Side):
    """One export; sequences of a history begin with random keys, values and states."""

    def __init__(self, options: dict[str, Any]) -> None:
        """Load the export `model` for `threads` threads."""
        self._runner = open_session(Path(options["model"]), options["threads"])
        self._session = ModelSession(self._runner)
        self.versions = {"onnxruntime": version("onnxruntime")}

    def prepare(self, batch: int, length: int, room: int) -> None:
        """Hold `batch` sequences of `length` tokens each; room is made as they grow."""
        self._session = ModelSession(self._runner, batch)
        self._session.fill(length, np.random.default_rng(length))
        self._tokens = np.arange(3, 3 + batch)

    def step(self) -> None:
        """Decode one token of every sequence; the likeliest is the next."""
        self._tokens = self._session(self._tokens)[:, -1].argmax(axis=-1)

    def read(self, tokens: int) -> None:
        """Read a prompt of so many tokens into an empty sequence, to the logits of the last."""
        self._session.restart()
        self.grow(tokens)

    def grow(self, tokens: int) -> None:
        """Read so many tokens more into the first sequence."""
        ids = np.random.default_rng(tokens).integers(3, self._session.vocabulary, tokens)
        self._session(ids)[:, -1].argmax()


if __name__ == "__main__":
    serve(OnnxruntimeSide)
