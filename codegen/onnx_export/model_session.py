"""An exported model in onnxruntime, with the state of its sequences."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from sala_compile.codegen.onnx_export.batch_values import ATTENTION_MASK, CALL_LENGTHS, INPUT_IDS
from sala_compile.codegen.onnx_export.interface import LOGITS, PAST

PAST_PREFIX, PRESENT_PREFIX = "past_key_values.", "present."
_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def open_session(model: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """The model on the CPU with so many threads, without what onnxruntime would print."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


class ModelSession:
    """Sequences that are read together; `runner` is a session of onnxruntime, or like one."""

    def __init__(self, runner: Any, batch: int = 1) -> None:
        self.runner = runner
        self._inputs = {each.name: each for each in runner.get_inputs()}
        self._outputs = [each.name for each in runner.get_outputs()]
        self._batch = batch
        self.restart()

    def restart(self) -> None:
        """Forget all tokens."""
        self._mask = np.zeros((self._batch, 0), np.int64)
        self._state = {
            name: np.zeros([self._size(axis) for axis in each.shape], _DTYPES[each.type])
            for name, each in self._inputs.items()
            if name.startswith(PAST_PREFIX)
        }

    @property
    def vocabulary(self) -> int:
        """Token ids that the model knows."""
        (logits,) = (each for each in self.runner.get_outputs() if each.name == LOGITS)
        return logits.shape[-1]

    def fill(self, tokens: int, random: np.random.Generator) -> None:
        """Have a text of so many tokens, with random numbers for its keys, values and states."""
        self._mask = np.ones((self._batch, tokens), np.int64)
        for name, each in self._inputs.items():
            if name in self._state:
                shape = [tokens if axis == PAST else self._size(axis) for axis in each.shape]
                drawn = random.standard_normal(shape, np.float32)
                self._state[name] = drawn.astype(_DTYPES[each.type])

    def __call__(
        self,
        token_ids: Any,
        call_lengths: int | Sequence[int] = 0,
        mask: np.ndarray | None = None,
    ) -> np.ndarray:
        """The logits [batch, tokens, vocabulary] of new tokens [batch, tokens] or [tokens].

        `mask` is 0 for those that are padding; `call_lengths` as the model's input.
        """
        ids = np.asarray(token_ids, np.int64).reshape(self._batch, -1)
        new = np.ones_like(ids) if mask is None else np.asarray(mask, np.int64)
        self._mask = np.concatenate([self._mask, new], axis=1)
        feeds = {INPUT_IDS: ids, ATTENTION_MASK: self._mask, **self._state}
        if CALL_LENGTHS in self._inputs:
            lengths = np.asarray(call_lengths, np.int64)
            feeds[CALL_LENGTHS] = np.broadcast_to(lengths, self._batch).copy()
        results = dict(zip(self._outputs, self.runner.run(None, feeds), strict=True))
        self._state = {
            PAST_PREFIX + name.removeprefix(PRESENT_PREFIX): value
            for name, value in results.items()
            if name.startswith(PRESENT_PREFIX)
        }
        return results[LOGITS]

    def _size(self, axis: str | int) -> int:
        if isinstance(axis, int):
            return axis
        return 0 if axis == PAST else self._batch
