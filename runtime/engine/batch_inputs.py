"""The inputs of a step: a ragged batch of new tokens, as the kernels read it."""

from collections.abc import Sequence

from sala_compile.runtime.artifact import InputName, Symbol
from sala_compile.runtime.artifact.batch_fields import BatchWriter
from sala_compile.runtime.devices.device import Memory, StepSizes
from sala_compile.runtime.devices.draw import Draw
from sala_compile.runtime.engine.chunk import SequenceChunk


class BatchInputs:
    """Writes the live part of the batch fields."""

    def __init__(self, memory: Memory, workers: int) -> None:
        """For the inputs of `memory`."""
        names = [name for name in InputName if name in memory.plan.places]
        self._memory = memory
        self._fields = {name: memory.host(name) for name in names}
        rows = {InputName.LOGIT_ROWS}  # `select` writes them
        self._writer = BatchWriter({n: a for n, a in self._fields.items() if n not in rows})
        self._control = self._fields[InputName.CONTROL]
        self._control[3] = workers
        self.logit_rows = memory.plan.symbols[Symbol.LOGIT_ROWS]
        """The most rows whose logits are computed at a time."""
        self.sizes = StepSizes(0, 0, 0)
        """The sizes of what was selected last."""
        self._batch = 0, 0

    @property
    def draw_words(self) -> int:
        """Words that say how a token is chosen; 0 if no device chooses."""
        field = self._fields.get(InputName.SAMPLING)
        return 0 if field is None else field.shape[1]

    def write(self, chunks: Sequence[SequenceChunk]) -> None:
        """Write a batch, without the rows whose logits are wanted."""
        self._batch = self._writer.write(chunks)

    def select(self, rows: Sequence[int], draws: Sequence[Draw | None]) -> None:
        """Write the tokens of the step whose logits are wanted, and how the next is chosen."""
        assert len(rows) <= self.logit_rows
        self._fields[InputName.LOGIT_ROWS][: len(rows)] = rows
        self.sizes = StepSizes(*self._batch, len(rows))
        self._control[:3] = *self._batch, len(rows)
        for index, draw in enumerate(draws):
            if draw is not None:
                self._fields[InputName.SAMPLING][index] = draw.words(self.draw_words)

    def send(self) -> None:
        """Make what was written the inputs of the next run."""
        self._memory.send_inputs()
