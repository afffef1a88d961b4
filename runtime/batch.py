"""The inputs of a step: a ragged batch of new tokens, as the kernels read it."""

from collections.abc import Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np

from runtime.artifact import InputName, Symbol, Symbols
from runtime.errors import RequestError
from runtime.store import State


@dataclass(frozen=True, slots=True)
class Work:
    """New tokens of one sequence in a step.

    `token_ids` is int32; `call_length` is the length of the sequence when its whole call is done.
    """

    state: State
    token_ids: np.ndarray
    call_length: int


class BatchInputs:
    """Writes the live part of the batch fields, and refuses what was not planned."""

    def __init__(self, arrays: Mapping[str, np.ndarray], symbols: Symbols, threads: int) -> None:
        """`arrays` are the buffers by value name."""
        self._fields = {name: arrays[name.value] for name in InputName}
        self._symbols = symbols
        self._control = self._fields[InputName.CONTROL]
        self._control[3] = threads

    def write(self, batch: Items[Work]) -> int:
        """Write a batch; the number of its tokens. RequestError for one that is too large."""
        tokens = sum(len(work.token_ids) for work in batch)
        self._check(batch, tokens)
        fields = self._fields
        self._control[:3] = tokens, len(batch), 0
        end = 0
        for index, work in enumerate(batch):
            begin, end = end, end + len(work.token_ids)
            history = work.state.length
            fields[InputName.TOKENS][begin:end] = work.token_ids
            fields[InputName.TOKEN_SEQUENCE][begin:end] = index
            fields[InputName.TOKEN_POSITION][begin:end] = range(history, history + end - begin)
            fields[InputName.OFFSETS][index + 1] = end
            fields[InputName.HISTORY][index] = history
            fields[InputName.CALL_LENGTHS][index] = work.call_length
            fields[InputName.SLOTS][index] = work.state.slot
        return tokens

    def ask(self, rows: np.ndarray) -> None:
        """Write the tokens of the step whose logits are wanted next."""
        assert len(rows) <= self._symbols[Symbol.LOGIT_ROWS]
        self._fields[InputName.LOGIT_ROWS][: len(rows)] = rows
        self._control[2] = len(rows)

    def _check(self, batch: Items[Work], tokens: int) -> None:
        slots = {work.state.slot for work in batch}
        limits = self._symbols[Symbol.SEQUENCES], self._symbols[Symbol.TOKENS]
        if not 0 < len(slots) == len(batch) <= limits[0] or tokens > limits[1]:
            raise RequestError(
                f"a step of {len(batch)} sequences with {tokens} tokens is asked",
                expected=f"1 to {limits[0]} different sequences, at most {limits[1]} tokens",
                fix="load with a larger batch or chunk",
            )
