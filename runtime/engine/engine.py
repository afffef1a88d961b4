"""The engine of a loaded model: one step for any mix of sequences."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import NoReturn

import numpy as np

from sala_compile.runtime.artifact import Artifact, Symbol
from sala_compile.runtime.devices.device import BoundProgram, Device, Memory
from sala_compile.runtime.devices.draw import Draw
from sala_compile.runtime.devices.interrupts import Allowed, Held
from sala_compile.runtime.devices.observe import Observer
from sala_compile.runtime.engine.admission import Admission, too_large
from sala_compile.runtime.engine.append import Append, Progress
from sala_compile.runtime.engine.check_chunk import check_chunk, check_draws
from sala_compile.runtime.engine.chunk import SequenceChunk, StepResult
from sala_compile.runtime.engine.exclusive import Exclusive
from sala_compile.runtime.engine.limits import Limits, TokenIds, too_many_drafts
from sala_compile.runtime.engine.rollback import Rollback
from sala_compile.runtime.engine.runs import runs_of
from sala_compile.runtime.engine.states import States, settle
from sala_compile.runtime.engine.stepper import Stepper
from sala_compile.runtime.errors import DeviceError, RequestError, SalaError
from sala_compile.runtime.plan import MemoryPlan
from sala_compile.runtime.state.prefix_cache import PrefixCache, PrefixOptions
from sala_compile.runtime.state.saving import StateFiles, model_digest
from sala_compile.runtime.state.store import State, StateStore
from sala_compile.runtime.state.stored_rows import StoredRows

Wrap = Callable[[BoundProgram], BoundProgram]
"""Returns a program that replaces another, for measurements."""


class Engine:
    """Sequences over the memory of one model, and the steps that advance them.

    One thread at a time. `states` begins and ends sequences, `admission` says what fits.
    """

    def __init__(
        self,
        artifact: Artifact,
        memory: Memory,
        device: Device,
        prefix: PrefixOptions | None = None,
    ) -> None:
        """Bind every kernel to its buffers; `prefix` are the options of a prefix cache."""
        self._memory = memory
        self.artifact = artifact
        self._exclusive = Exclusive()
        self.store = StateStore(memory, artifact.program)
        self.stepper = Stepper(artifact, memory, device, self.store)
        sizes = memory.plan.sizes
        self.limits = Limits(
            vocabulary=artifact.manifest.model.vocabulary,
            context=sizes.context,
            chunk=sizes.chunk,
            logit_rows=memory.plan.symbols[Symbol.LOGIT_ROWS],
            batch=sizes.batch,
            drafts=sizes.checkpoints,
        )
        digest = model_digest(artifact.manifest)
        self.prefix = None
        if prefix is not None:
            names, multiple = self.stepper.rule.names, self.stepper.target.read_multiple
            self.prefix = PrefixCache(self.store, digest, names, prefix, multiple)
        self.rows = StoredRows(memory, artifact.program.paging)
        self._rollback = Rollback(self.store, self.prefix)
        files = StateFiles(artifact.manifest, artifact.program, device.target, memory, self.store)
        self.states = States(self.store, self._rollback, files, self.limits, self._exclusive)
        self.admission = Admission(self.store, self.limits)

    @property
    def plan(self) -> MemoryPlan:
        """What the memory was planned for."""
        return self._memory.plan

    def append(
        self,
        state: State,
        token_ids: TokenIds,
        *,
        chunk: int | None = None,
        every_row: bool = False,
        draws: Sequence[Draw] = (),
        generated: bool = False,
        reuse: bool = True,
        exact: bool = False,
    ) -> Append:
        """Begin a call that appends tokens, with the pages for all of them.

        `chunk` are the most tokens of a step. Logits are computed after the last token, or after
        `every_row`; with a draw the device chooses the next token from the last. Tokens are read,
        however few, unless they were `generated`, which get the bits of single steps. An empty
        sequence begins with what the prefix cache has of it, unless `reuse` is False; with `exact`
        only with what was read, so that the bits are those of reading all.
        RequestError for tokens that cannot be appended, MemoryBudgetError if pages are missing;
        nothing changes then.
        """
        state.require_usable()
        ids = self.limits.checked_tokens(token_ids, state.length)
        check_draws(draws, 1, self.stepper)
        call = Append(
            state,
            ids,
            chunk=self.limits.checked_chunk(chunk),
            multiple=self.stepper.target.read_multiple,
            logits=np.empty((len(ids), self.limits.vocabulary), np.float32) if every_row else None,
            draws=draws,
            generated=generated,
            end=self._end,
        )
        with self._exclusive.changing():
            settle(state)
            state.call = call
            try:
                if reuse and self.prefix is not None:
                    self._reuse(self.prefix, call, ids, exact)
                self.store.reserve(state, call.call_length)
                if len(ids) > 1:
                    call.return_point = self._rollback.take_for_call(state)
            except BaseException:
                state.call = None
                self._rollback.recover(state, call.begin)
                raise
        return call

    def finish(
        self, call: Append, progress: Progress | None = None, observer: Observer | None = None
    ) -> StepResult:
        """Carry out the rest of a call alone: its logits, or the token that the device chose.

        NotANumberError if a logit is NaN; the tokens up to there are appended all the same, if
        that is the end of the call.
        """
        with Held(), call:
            while not call.finished:
                chunk = call.next_chunk()
                assert chunk is not None, "there is no limit"
                call.done(self.step([chunk], observer=observer)[0])
                if progress is not None:
                    with Allowed():
                        progress(call.appended)
        return call.result.checked()

    def step(
        self,
        chunks: Sequence[SequenceChunk],
        *,
        all_or_none: bool = False,
        observer: Observer | None = None,
    ) -> list[StepResult]:
        """Run chunks of different sequences; what was done for each.

        A chunk that cannot run (its sequence is closed, in another call or interrupted, no page is
        free) or whose logits are not numbers has an error for its result; the others have theirs.
        With `all_or_none` the first chunk that cannot run raises its error, and nothing runs.

        RequestError for a step larger than the model was loaded for; nothing changes then. If the
        device fails or the step is interrupted, every sequence returns to where its call began or
        further back, or is broken.
        """
        count = sum(len(chunk.token_ids) for chunk in chunks)
        if not self.limits.holds_step(len(chunks), count):
            raise too_large(len(chunks), count, self.limits)
        with self._exclusive.changing():
            results = self._refused(chunks)
            self._place_checkpoints(chunks, results)
            if all_or_none and results:
                self._abandon(chunks, results)
            ready = [index for index in range(len(chunks)) if index not in results]
            begins = [_begin(chunk) for chunk in chunks]
            try:
                self._run(chunks, ready, results, observer)
            except BaseException as error:
                for index in ready:
                    state = chunks[index].state
                    state.broken = state.broken or isinstance(error, DeviceError)
                    self._rollback.recover(state, begins[index])
                raise
        return [results[index] for index in range(len(chunks))]

    def keep(self, state: State) -> None:
        """Keep the present state in the prefix cache, if there is one, for texts that go on."""
        with self._exclusive.changing():
            settle(state)
            if self.prefix is not None and state.length:
                self.prefix.keep(state)

    def visited(self) -> AbstractContextManager[None]:
        """Look at what is held, while nothing runs; RequestError if the model is closed."""
        return self._exclusive.visited()

    def close(self) -> bool:
        """Refuse all calls from now on; False if that was so already."""
        with self._exclusive.closing() as first:
            if first:
                self.stepper.close()
        return first

    @contextmanager
    def wrapped(self, wrap: Wrap) -> Iterator[None]:
        """Run the program as `wrap` returns it, inside the block."""
        program = self.stepper.program
        self.stepper.program = wrap(program)
        try:
            yield
        finally:
            self.stepper.program = program

    def observer(self, kinds: Sequence[str]) -> Observer:
        """An observer for steps."""
        return Observer(self.artifact.program, self.stepper.target, kinds, self._memory)

    def _reuse(self, prefix: PrefixCache, call: Append, ids: np.ndarray, exact: bool) -> None:
        """Begin with what the prefix cache has, and note where it wants the state."""
        path = self.stepper.rule.path(call.call_length)
        call.report = prefix.begin(call.state, ids, path, exact=exact)
        known = call.report.known_tokens
        call.snapshot_lengths = prefix.snapshot_lengths(call.begin, call.call_length, known)

    def _end(self, call: Append, complete: bool) -> None:
        """Leave a call; the sequence of one that is not complete goes back."""
        state = call.state
        with self._exclusive.releasing():
            state.call = None
            if self._exclusive.closed or state.closed:
                return
            if not complete:
                self._rollback.recover(state, call.begin)
            if call.return_point is not None:
                self._rollback.drop(state, call.return_point)

    def _refused(self, chunks: Sequence[SequenceChunk]) -> dict[int, StepResult]:
        """Results with errors for the chunks that cannot run, by number; the others have pages."""
        refused: dict[int, StepResult] = {}
        seen: set[int] = set()
        for index, chunk in enumerate(chunks):
            try:
                self._check(chunk, seen)
                self.store.reserve(chunk.state, chunk.state.length + len(chunk.token_ids))
            except SalaError as error:
                refused[index] = StepResult(error=error)
        return refused

    def _abandon(
        self, chunks: Sequence[SequenceChunk], refused: Mapping[int, StepResult]
    ) -> NoReturn:
        """Raise the first error, and give back the pages of chunks that could have run."""
        for index, chunk in enumerate(chunks):
            if index not in refused and chunk.call is None:
                self.store.trim(chunk.state)
        raise next(result.error for result in refused.values() if result.error is not None)

    def _check(self, chunk: SequenceChunk, seen: set[int]) -> None:
        """SalaError for a chunk that cannot run."""
        state = chunk.state
        state.require_usable(chunk.call)
        if state.slot in seen:
            raise RequestError("a step has a sequence twice", expected="different sequences")
        seen.add(state.slot)
        if chunk.fed is not None and not self.stepper.holds(chunk.fed):
            chunk.fed.take()
        if not isinstance(chunk.call, Append):
            check_chunk(chunk, self.limits, self.stepper)
        elif not chunk.call.expects(chunk):
            raise RequestError("the chunk is not the next one of its call", fix="use next_chunk")
        if state.unknown is not None:
            state.unknown()

    def _run(
        self,
        chunks: Sequence[SequenceChunk],
        ready: Sequence[int],
        results: dict[int, StepResult],
        observer: Observer | None,
    ) -> None:
        """Run the chunks that can, and keep states for the prefix cache."""
        parts: dict[int, list[StepResult]] = {}
        batch = {index: self._known(chunks[index]) for index in ready}
        for run in runs_of(batch, self.stepper):
            done = self.stepper.run([chunk for _, chunk in run], observer)
            for (index, part), result in zip(run, done, strict=True):
                parts.setdefault(index, []).append(result)
                self._keep_between(chunks[index], part)
        for index, found in parts.items():
            results[index] = found[0] if len(found) == 1 else _joined(found)
            if chunks[index].accept is not None:
                self._accept(chunks[index], results[index])
            if self.prefix is not None:
                self._keep(self.prefix, chunks[index])

    def draft_room(self, state: State) -> int:
        """How many drafted tokens may follow the next token of a sequence in one step.

        Not beyond the context, nor beyond where the prefix cache keeps the state.
        """
        limits = self.limits
        room = min(limits.drafts, limits.step_tokens - 1, limits.context - state.length - 1)
        if self.prefix is not None:
            room = min(room, self.prefix.every - state.length % self.prefix.every - 1)
        return max(0, room)

    def _place_checkpoints(
        self, chunks: Sequence[SequenceChunk], results: dict[int, StepResult]
    ) -> None:
        """Give the chunks that draft their rows for the states between tokens, or an error."""
        used = 0
        for index, chunk in enumerate(chunks):
            drafts = len(chunk) - 1
            if chunk.accept is None or index in results or not drafts:
                continue
            if used + drafts > self.limits.drafts:
                results[index] = StepResult(error=too_many_drafts(used + drafts, self.limits))
                self.store.trim(chunk.state)
                continue
            if self.stepper.keeps_checkpoints:
                chunk.checkpoint = self.store.checkpoint_row(used)
            used += drafts

    def _keep_between(self, chunk: SequenceChunk, part: SequenceChunk) -> None:
        """Keep the state after a part of a chunk that drafts, unless it is the last part."""
        if part.checkpoint >= 0 and part.checkpoint - chunk.checkpoint + len(part) < len(chunk):
            self.store.keep_state(part.state, part.checkpoint + len(part) - 1)

    def _accept(self, chunk: SequenceChunk, result: StepResult) -> None:
        """Let the holder of a chunk choose how many of its tokens remain, and drop the others."""
        assert chunk.accept is not None
        assert result.logits is not None, "a chunk without draws has logits"
        state, count = chunk.state, chunk.accept(result.logits)
        assert 0 < count <= len(chunk), "a number of the chunk's tokens"
        if count == len(chunk):
            return
        length = state.length - len(chunk) + count
        row = chunk.checkpoint + count - 1 if chunk.checkpoint >= 0 else None
        self.store.cut(state, length, row)
        self.store.set_logits(state, result.logits[count - 1])

    def _known(self, chunk: SequenceChunk) -> SequenceChunk:
        """The chunk with a token for the host to send, unless the device can feed it."""
        if chunk.fed is None or self.stepper.holds(chunk.fed):
            return chunk
        return replace(chunk, token_ids=np.array([chunk.fed.take()], np.int32), fed=None)

    def _keep(self, prefix: PrefixCache, chunk: SequenceChunk) -> None:
        """Keep the state after a chunk, where it was cut for that, or at regular lengths."""
        state = chunk.state
        if chunk.keep or (chunk.call is None and state.length % prefix.every == 0):
            if state.unknown is not None:
                with suppress(SalaError):  # taking the token reports it
                    state.unknown()
            if state.unknown is None:
                prefix.keep(state)


def _begin(chunk: SequenceChunk) -> int:
    """The length of a sequence before the call of a chunk."""
    return chunk.call.begin if isinstance(chunk.call, Append) else chunk.state.length


def _joined(parts: Sequence[StepResult]) -> StepResult:
    """The results of the parts of a chunk."""
    logits = [part.logits for part in parts if part.logits is not None]
    return StepResult(
        np.concatenate(logits) if logits else None,
        tuple(token for part in parts for token in part.tokens),
        next((part.error for part in parts if part.error is not None), None),
    )
