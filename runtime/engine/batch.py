"""The inputs of a step: a ragged batch of new tokens, as the kernels read it."""

from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np

from sala_compile.runtime.artifact import InputName, Symbol
from sala_compile.runtime.artifact.batch_fields import BatchWriter
from sala_compile.runtime.devices.device import Memory, StepSizes
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.generation.sampling import Draw
from sala_compile.runtime.state.store import State


@dataclass(frozen=True, slots=True)
class Work:
    """New tokens of one sequence in a step.

    `token_ids` is int32; `call_length` is the length of the sequence when its whole call is done.
    `generated` says that a model chose the tokens, one or several to verify: they get the bits of
    single steps. Tokens that are read are computed in chunks, however few they are.
    """

    state: State
    token_ids: np.ndarray
    call_length: int
    generated: bool = False

    @property
    def history(self) -> int:
        """Tokens of the sequence before the step."""
        return self.state.length

    @property
    def slot(self) -> int:
        """The row of the sequence in tables and pools."""
        return self.state.slot


class BatchInputs:
    """Writes the live part of the batch fields, and refuses what was not planned."""

    def __init__(self, memory: Memory, workers: int) -> None:
        """For the inputs of `memory`."""
        names = [name for name in InputName if name in memory.plan.places]
        self._memory = memory
        self._fields = {name: memory.host(name) for name in names}
        self._writer = BatchWriter(self._fields)
        self._symbols = memory.plan.symbols
        self._control = self._fields[InputName.CONTROL]
        self._control[3] = workers

    @property
    def sizes(self) -> StepSizes:
        """The sizes of what was written last."""
        return StepSizes(*self._control[:3].tolist())

    @property
    def draw_words(self) -> int:
        """Words that say how a token is chosen; 0 where no device chooses."""
        field = self._fields.get(InputName.SAMPLING)
        return 0 if field is None else field.shape[1]

    def check(self, batch: Items[Work]) -> None:
        """Raise RequestError for a batch that is too large."""
        tokens = sum(len(work.token_ids) for work in batch)
        slots = {work.state.slot for work in batch}
        limits = self._symbols[Symbol.SEQUENCES], self._symbols[Symbol.TOKENS]
        if not 0 < len(slots) == len(batch) <= limits[0] or tokens > limits[1]:
            raise RequestError(
                f"a step of {len(batch)} sequences with {tokens} tokens is asked",
                expected=f"1 to {limits[0]} different sequences, at most {limits[1]} tokens",
                fix="load with a larger batch or chunk",
            )

    def write(self, batch: Items[Work], draws: Items[Draw] = ()) -> None:
        """Write and send a batch; the wanted logits are those of each last token.

        `draws` say how tokens are chosen from them, where they are.
        """
        tokens, sequences = self._writer.write(batch)
        for index, draw in enumerate(draws):
            self._fields[InputName.SAMPLING][index] = draw.words(self.draw_words)
        self._control[:3] = tokens, sequences, sequences
        self._memory.send_inputs()

    def ask(self, rows: np.ndarray) -> None:
        """Write and send the tokens of the step whose logits are wanted next."""
        assert len(rows) <= self._symbols[Symbol.LOGIT_ROWS]
        self._fields[InputName.LOGIT_ROWS][: len(rows)] = rows
        self._control[2] = len(rows)
        self._memory.send_inputs()
