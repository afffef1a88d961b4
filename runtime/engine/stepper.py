"""Runs batches of chunks through the program."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial as bind

import numpy as np

from sala_compile.runtime.artifact import Artifact, InputName, PhaseName, Symbol
from sala_compile.runtime.devices.device import Device, Memory
from sala_compile.runtime.devices.draw import MIN_P_WORDS, Draw
from sala_compile.runtime.devices.interrupts import Allowed
from sala_compile.runtime.devices.observe import Observer
from sala_compile.runtime.engine.batch_inputs import BatchInputs
from sala_compile.runtime.engine.chunk import SampledToken, SequenceChunk, StepResult
from sala_compile.runtime.engine.logit_check import first_with_nan, nan_after
from sala_compile.runtime.state.attention_paths import PathRule
from sala_compile.runtime.state.store import State, StateStore

SAMPLED = "sampled"
"""The value that the sample phase writes, [logit_rows, 2]: a token for each row of logits, and a
mark: 1 if one of them is not a number, 2 if all are minus infinity."""


@dataclass(slots=True)
class _Rows:
    """The rows of logits that a batch requests, those for the host first.

    `owners` are the numbers of their chunks, `places` their tokens in the batch, `draws` how the
    device chooses from them; `ends` says whether the token is the last of its chunk.
    """

    owners: list[int] = field(default_factory=list[int])
    places: list[int] = field(default_factory=list[int])
    draws: list[Draw | None] = field(default_factory=list[Draw | None])
    ends: list[bool] = field(default_factory=list[bool])
    host: int = 0

    @classmethod
    def of(cls, chunks: Sequence[SequenceChunk]) -> "_Rows":
        """The rows of a batch."""
        rows, begin = cls(), 0
        chosen: list[tuple[int, int]] = []
        for index, chunk in enumerate(chunks):
            if chunk.draws:
                chosen.append((index, begin))
            else:
                rows._add(index, begin, chunk)
            begin += len(chunk.token_ids)
        rows.host = len(rows.places)
        for index, begin in chosen:
            rows._add(index, begin, chunks[index])
        return rows

    def _add(self, index: int, begin: int, chunk: SequenceChunk) -> None:
        """Add the rows of a chunk whose first token is number `begin` of the batch."""
        last = len(chunk.token_ids) - 1
        for number, row in enumerate(chunk.rows):
            self.owners.append(index)
            self.places.append(begin + row)
            self.draws.append(chunk.draws[number] if chunk.draws else None)
            self.ends.append(row == last)


class Stepper:
    """The kernels bound to their buffers; advances the states of a store."""

    def __init__(
        self,
        artifact: Artifact,
        memory: Memory,
        device: Device,
        store: StateStore,
    ) -> None:
        """Bind every kernel of the device's target; interrupts may come while they run."""
        self._memory = memory
        self._store = store
        self._inputs = BatchInputs(memory, device.workers)
        self.program = device.bind(memory)
        self.target = artifact.program.targets[device.target]
        self.rule = PathRule(artifact.program.paths)
        rows = Symbol.SEQUENCES if self.target.splits else Symbol.TOKENS
        self.generated_rows = memory.plan.symbols[rows]
        """The most generated tokens of one run."""
        self.keeps_checkpoints = InputName.CHECKPOINTS in memory.plan.places
        """Whether there are states that a step keeps between drafted tokens."""
        self.samples = PhaseName.SAMPLE in self.program.phases
        """Whether the device can choose tokens."""
        self.samples_min_p = self.samples and self._inputs.draw_words >= MIN_P_WORDS
        """Whether the device can also drop tokens by `min_p`."""
        self._vocabulary = artifact.manifest.model.vocabulary
        self._logits = artifact.program.logits
        self._newest: tuple[SampledToken, ...] = ()

    def holds(self, token: SampledToken) -> bool:
        """Whether the device can feed the token to the next run, because nothing ran since."""
        return token in self._newest

    def run(
        self, chunks: Sequence[SequenceChunk], observer: Observer | None = None
    ) -> list[StepResult]:
        """Run chunks of different sequences that have their pages, and advance the sequences.

        A token that only the device has must be one that it `holds`.
        """
        rows = _Rows.of(chunks)
        capacity = self._inputs.logit_rows
        self._inputs.write(chunks)
        self._inputs.select(rows.places[:capacity], rows.draws[:capacity])
        self._inputs.send()
        self._feed(chunks)
        self._newest = ()
        self._advance(chunks, observer)
        return self._results(chunks, rows)

    def close(self) -> None:
        """Release the kernels and buffers; nothing runs afterwards."""
        self.program.close()
        del self._memory, self._inputs

    def _feed(self, chunks: Sequence[SequenceChunk]) -> None:
        """Copy the tokens that the device chose in the last run to where the next reads them."""
        place = 0
        for chunk in chunks:
            if chunk.fed is not None:
                self._memory.keep_row(SAMPLED, chunk.fed.row, InputName.TOKENS.value, place)
            place += len(chunk)

    def _advance(self, chunks: Sequence[SequenceChunk], observer: Observer | None) -> None:
        """Run the batch up to the final hidden states."""
        sizes = self._inputs.sizes
        decodes = self.target.splits or sizes.tokens == len(chunks)
        decodes = decodes and all(chunk.generated for chunk in chunks)
        phase = PhaseName.DECODE if decodes else PhaseName.PREFILL
        if self._memory.poison:
            self._memory.poison_arena()
        for chunk in chunks:
            chunk.state.broken = True
        hooks = None if observer is None else observer.hooks(phase, sizes.tokens)
        with Allowed():
            self.program.run(phase, sizes, hooks)
        for chunk in chunks:
            self._grow(chunk)

    def _grow(self, chunk: SequenceChunk) -> None:
        state, ids = chunk.state, chunk.token_ids
        if chunk.fed is not None:
            state.unknown = bind(self._note, state, state.length, chunk.fed)
        multiple = self.target.read_multiple
        state.history = state.history.grown(state.length, chunk.generated, multiple)
        self._store.grow(state, ids, self.rule.path(chunk.call_length))
        state.broken = False

    def _note(self, state: State, position: int, token: SampledToken) -> None:
        """Write a token that was fed on the device to the token ids, when it is known."""
        self._store.tokens[state.slot, position] = token.take()
        state.unknown = None

    def _results(self, chunks: Sequence[SequenceChunk], rows: _Rows) -> list[StepResult]:
        logits = self._host_rows(chunks, rows)
        chosen: list[SampledToken] = []
        for first in range(0, len(rows.places), self._inputs.logit_rows):
            group = slice(first, first + self._inputs.logit_rows)
            places, draws = rows.places[group], rows.draws[group]
            if first:
                self._inputs.select(places, draws)
                self._inputs.send()
            self.program.run(PhaseName.LOGITS, self._inputs.sizes)
            if first < rows.host:
                self._memory.read(self._logits, logits[group])
            for row, owner in enumerate(rows.owners[group]):
                if rows.ends[first + row]:
                    self._store.keep_logits(chunks[owner].state, row)
            if draws[-1] is not None:
                chosen += self._sample(chunks, rows.owners[group], draws)
        return _shared_out(chunks, logits, chosen)

    def _host_rows(self, chunks: Sequence[SequenceChunk], rows: _Rows) -> np.ndarray:
        """The array for the host's logits: a chunk's own, if all rows are of that chunk."""
        owner = chunks[rows.owners[0]] if rows.host else None
        if owner is not None and owner.out is not None and len(owner.out) == rows.host:
            return owner.out
        return np.empty((rows.host, self._vocabulary), np.float32)

    def _sample(
        self, chunks: Sequence[SequenceChunk], owners: Sequence[int], draws: Sequence[Draw | None]
    ) -> tuple[SampledToken, ...]:
        """Choose a token from each row of logits that has a draw."""
        self.program.run(PhaseName.SAMPLE, self._inputs.sizes)
        arrival = self._memory.read_later(SAMPLED, len(owners))
        self._newest = tuple(
            SampledToken(chunks[owner].state, row, arrival)
            for row, owner in enumerate(owners)
            if draws[row] is not None
        )
        return self._newest


def _shared_out(
    chunks: Sequence[SequenceChunk], logits: np.ndarray, chosen: Sequence[SampledToken]
) -> list[StepResult]:
    """The rows and tokens of each chunk, which come in the order of the chunks."""
    results: list[StepResult] = []
    # Whoever accepts looks at those that remain.
    wrong = any(c.accept is None for c in chunks) and first_with_nan(logits) is not None
    row = token = 0
    for chunk in chunks:
        count = len(chunk.rows)
        if chunk.draws:
            results.append(StepResult(tokens=tuple(chosen[token : token + count])))
            token += count
        elif count:
            found = logits[row : row + count]
            if chunk.out is not None and chunk.out is not logits:
                chunk.out[...] = found
            result = StepResult(found if chunk.out is None else chunk.out)
            if wrong and chunk.accept is None:
                _check_logits(chunk, found, result)
            results.append(result)
            row += count
        else:
            results.append(StepResult())
    return results


def _check_logits(chunk: SequenceChunk, logits: np.ndarray, result: StepResult) -> None:
    """Give the result of a chunk that has run its error, if a logit is not a number."""
    row = first_with_nan(logits)
    if row is not None:
        token = chunk.state.length - len(chunk) + chunk.rows[row]
        result.error = nan_after(logits[row], token)
