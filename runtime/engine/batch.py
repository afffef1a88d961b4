"""The inputs of a step: a ragged batch of new tokens, as the kernels read it."""

from collections.abc import Sequence

from sala_compile.runtime.artifact import InputName, Symbol
from sala_compile.runtime.devices.device import Memory, StepSizes
from sala_compile.runtime.devices.draw import Draw
from sala_compile.runtime.engine.chunk import SampledToken, SequenceChunk
from sala_compile.runtime.plan import TABLES

GENERATED = "generated"
"""The input [sequences] of programs that run several generated tokens of a sequence in one step:
1 where the new tokens of the sequence were generated, 0 where they are read."""


class BatchInputs:
    """Writes the live part of the batch fields."""

    def __init__(self, memory: Memory, workers: int) -> None:
        """For the inputs of `memory`."""
        names = {*InputName} & {*memory.plan.places} - {*TABLES}
        self._memory = memory
        self._fields = {InputName(name): memory.host(name) for name in names}
        self._generated = memory.host(GENERATED) if GENERATED in memory.plan.places else None
        self._control = self._fields[InputName.CONTROL]
        self._control[3] = workers
        self.logit_rows = memory.plan.symbols[Symbol.LOGIT_ROWS]
        """The most rows whose logits are computed at a time."""

    @property
    def sizes(self) -> StepSizes:
        """The sizes of what was written last."""
        return StepSizes(*self._control[:3].tolist())

    @property
    def draw_words(self) -> int:
        """Words that say how a token is chosen; 0 where no device chooses."""
        field = self._fields.get(InputName.SAMPLING)
        return 0 if field is None else field.shape[1]

    @property
    def verifies(self) -> bool:
        """Whether a sequence can have several generated tokens in one run."""
        return self._generated is not None

    def write(self, chunks: Sequence[SequenceChunk]) -> None:
        """Write a batch; the token of a chunk that only the device knows is 0."""
        fields, end = self._fields, 0
        for index, chunk in enumerate(chunks):
            begin, end = end, end + len(chunk)
            history = chunk.state.length
            ids = chunk.token_ids
            fields[InputName.TOKENS][begin:end] = 0 if isinstance(ids, SampledToken) else ids
            fields[InputName.TOKEN_SEQUENCE][begin:end] = index
            fields[InputName.TOKEN_POSITION][begin:end] = range(history, history + end - begin)
            fields[InputName.OFFSETS][index + 1] = end
            fields[InputName.HISTORY][index] = history
            fields[InputName.CALL_LENGTHS][index] = chunk.call_length
            fields[InputName.SLOTS][index] = chunk.state.slot
            if self._generated is not None:
                self._generated[index] = chunk.generated
        self._control[:2] = end, len(chunks)

    def select(self, rows: Sequence[int], draws: Sequence[Draw | None]) -> None:
        """Write the tokens of the step whose logits are wanted, and how the next is chosen."""
        assert len(rows) <= self.logit_rows
        self._fields[InputName.LOGIT_ROWS][: len(rows)] = rows
        self._control[2] = len(rows)
        for index, draw in enumerate(draws):
            if draw is not None:
                words = draw.words(self.draw_words)
                self._fields[InputName.SAMPLING][index] = words

    def send(self) -> None:
        """Make what was written the inputs of the next run."""
        self._memory.send_inputs()
