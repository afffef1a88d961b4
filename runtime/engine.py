"""Runs calls: checked requests cut into steps, one call at a time."""

import threading
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import numpy as np

from runtime.artifact import Artifact, Symbol
from runtime.batch import Work
from runtime.device import BoundProgram, Device, Memory
from runtime.errors import DeviceError, MemoryBudgetError, RequestError
from runtime.generation import Answer, Progress
from runtime.history import History
from runtime.interrupts import Interrupts
from runtime.observe import Observer
from runtime.prefix_cache import PrefixCache, PrefixOptions
from runtime.requests import checked_chunk, checked_tokens, no_snapshot
from runtime.run_ahead import RunAhead
from runtime.sampling import Draw
from runtime.saving import StateFiles, model_digest
from runtime.sequence import Sequence, TokenIds
from runtime.stepper import Stepper
from runtime.store import State, StateStore

Result = TypeVar("Result")

Wrap = Callable[[BoundProgram], BoundProgram]
"""Makes the program that stands in for another, for measurements."""


class Engine:
    """The loaded model as a machine for steps; one step at a time, from one thread at a time."""

    def __init__(
        self,
        artifact: Artifact,
        memory: Memory,
        device: Device,
        prefix: PrefixOptions | None = None,
    ) -> None:
        """Bind every kernel to its buffers; `prefix` asks for a prefix cache."""
        self._memory = memory
        self._artifact = artifact
        self._target = artifact.program.targets[device.target]
        self._lock = threading.Lock()
        self._closed = False
        self.store = StateStore(memory, artifact.program)
        self._interrupts = Interrupts()
        self._steps = Stepper(artifact, memory, device, self.store, self._interrupts)
        self.vocabulary = artifact.manifest.model.vocabulary
        self.context = memory.plan.sizes.context
        self.chunk = memory.plan.sizes.chunk
        self._files = StateFiles(
            artifact.manifest, artifact.program, device.target, memory, self.store
        )
        self.prefix = None if prefix is None else self._prefix_cache(artifact, prefix)
        self.history = History(self.store, self.prefix)

    def new_sequence(self) -> Sequence:
        """An empty sequence; MemoryBudgetError while as many are alive as were planned."""
        with self._interrupts.held(), self._alone():
            return Sequence(self, self.store.open())

    def release(self, sequence: Sequence) -> None:
        """Take back all that a sequence holds; called by its `close`."""
        with self._interrupts.held(), self._lock:
            if not self._closed:
                self.history.drop_marks(sequence, -1)
                self.store.close(sequence.state)

    def close(self) -> None:
        """Refuse whatever is asked from now on."""
        with self._alone():
            self._closed = True
            self._steps.close()

    def append(
        self,
        sequence: Sequence,
        token_ids: TokenIds,
        *,
        chunk: int | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Append tokens in one call; a copy of the logits [vocabulary] behind the last of them."""

        def finish() -> np.ndarray:
            return self.last_logits(sequence)

        return self._extend(sequence, token_ids, finish, chunk=chunk, progress=progress)

    def choose(
        self,
        sequence: Sequence,
        token_ids: TokenIds,
        draw: Draw,
        *,
        progress: Progress | None = None,
    ) -> int:
        """Append tokens in one call; the next one, chosen on a device that `samples`.

        ArtifactError where a logit is not a number.
        """

        def finish() -> Callable[[], int]:
            return self._steps.sample(sequence.state)

        take = self._extend(sequence, token_ids, finish, draws=[draw], progress=progress)
        try:
            return take()
        except DeviceError:
            sequence.state.broken = True
            raise

    def run_ahead(
        self, sequence: Sequence, token: int, draws: Iterator[Draw], count: int
    ) -> Answer:
        """Up to `count` tokens behind `token`, each fed to the next step on the device.

        While the caller has a token the next is computed, so that a sequence whose tokens are not
        all taken is broken in the end. A prefix cache wants to see every token: then none is
        computed too far.
        """
        if self.prefix is None:
            ahead = RunAhead(sequence.state, self._fed_step, self._steps.holds_token, self.store)
            yield from ahead.tokens(token, draws, count)
            return
        for _ in range(count):
            token = self.choose(sequence, [token], next(draws))
            yield token

    def _fed_step(self, state: State, token: int | None, draw: Draw) -> Callable[[], int]:
        """Append one token, the newest one chosen if it is not told; what gives the next one."""
        ids = np.array([token or 0], np.int32)
        with self._interrupts.held(), self._alone():
            self._steps.run([Work(state, ids, state.length + 1)], draws=[draw], fed=token is None)
            self._steps.find_logits()
            self.store.keep_logits(state, 0)
            return self._steps.sample(state)

    @property
    def samples(self) -> bool:
        """Whether the device can choose tokens."""
        return self._steps.samples

    def all_logits(
        self,
        sequence: Sequence,
        token_ids: TokenIds,
        *,
        chunk: int | None,
        observer: Observer | None,
    ) -> np.ndarray:
        """Append tokens in one call; the logits [tokens, vocabulary] behind each of them."""
        ids = self.checked_tokens(token_ids, len(sequence))
        result = np.empty((len(ids), self.vocabulary), np.float32)
        group = self._memory.plan.symbols[Symbol.LOGIT_ROWS]
        done = 0
        with self._interrupts.held(), self._call([sequence]):
            for work in self._chunks(sequence, ids, chunk):
                count = len(work.token_ids)
                with self._alone():
                    self._steps.run([work], observer)
                    rows = np.zeros(0, np.int32)
                    for first in range(0, count, group):
                        rows = np.arange(first, min(first + group, count), dtype=np.int32)
                        self._steps.find_logits(rows)
                        begin = done + first
                        result[begin : begin + len(rows)] = self._steps.logits()
                    done += count
                    if done == len(ids):
                        self.store.keep_logits(sequence.state, len(rows) - 1)
        return result

    def step(
        self, sequences: Items[Sequence], token_ids: Items[TokenIds], rows: Items[int] | None = None
    ) -> np.ndarray:
        """Append some tokens to each of several sequences, in one step and a call each.

        A copy of the logits of the step's token `rows`, the last of each sequence unless told.
        """
        ids = [
            self.checked_tokens(tokens, len(sequence))
            for sequence, tokens in zip(sequences, token_ids, strict=True)
        ]
        batch = [
            Work(sequence.state, tokens, len(sequence) + len(tokens))
            for sequence, tokens in zip(sequences, ids, strict=True)
        ]
        with self._interrupts.held(), self._call(sequences), self._alone():
            self._steps.run(batch)
            self._steps.find_logits()
            for row, sequence in enumerate(sequences):
                self.store.keep_logits(sequence.state, row)
                if self.prefix is not None and len(sequence) % self.prefix.every == 0:
                    self.prefix.keep(sequence.state)
            if rows is not None:
                self._steps.find_logits(np.asarray(rows, np.int32))
            return self._steps.logits()

    def last_logits(self, sequence: Sequence) -> np.ndarray:
        """A copy of the logits [vocabulary] behind the last token; RequestError if unknown."""
        state = sequence.state
        if not 0 < state.logits_at == state.length:
            raise RequestError(
                "the logits behind the last token were not computed", fix="append a token"
            )
        return self.store.last_logits(state)[: self.vocabulary]

    def fork(self, sequence: Sequence) -> Sequence:
        """A sequence that shares what does not change."""
        with self._interrupts.held(), self._alone():
            sequence.require_usable()
            copy = Sequence(self, self.store.fork(sequence.state))
            self.history.share_marks(sequence, copy)
            return copy

    def save(self, sequence: Sequence, path: Path) -> None:
        """Write the state of a sequence to a file."""
        with self._alone():
            sequence.require_usable()
            self._files.save(sequence.state, path)

    def restore(self, path: Path) -> Sequence:
        """A new sequence with the state in a file."""
        with self._alone():
            return Sequence(self, self._files.restore(path, self.context))

    def mark(self, sequence: Sequence) -> int:
        """Take a snapshot that belongs to the sequence; its length."""
        with self._interrupts.held(), self._alone():
            sequence.require_usable()
            length = len(sequence)
            if length and all(mark.length != length for mark in sequence.marks):
                self.history.mark(sequence)
            return length

    def points(self, sequence: Sequence) -> list[int]:
        """The lengths with a snapshot."""
        return sorted(self.history.points(sequence))

    def truncate(self, sequence: Sequence, length: int) -> None:
        """Return to a snapshot, or to the present length."""
        with self._interrupts.held(), self._alone():
            if sequence.closed or sequence.busy:
                sequence.require_usable()
            if length == len(sequence) and not sequence.state.broken:
                return
            points = self.points(sequence)
            if length not in points:
                raise no_snapshot(length, len(sequence), points)
            self.history.go_back(sequence, length)

    def checked_tokens(self, token_ids: TokenIds, history: int = 0) -> np.ndarray:
        """The ids as int32; RequestError if they cannot follow `history` tokens."""
        return checked_tokens(token_ids, self.vocabulary, self.context, history)

    @contextmanager
    def wrapped(self, wrap: Wrap) -> Iterator[None]:
        """Run inside what `wrap` makes of the program."""
        program = self._steps.program
        self._steps.program = wrap(program)
        try:
            yield
        finally:
            self._steps.program = program

    def observer(self, kinds: Items[str]) -> Observer:
        """An observer for calls of `all_logits`."""
        return Observer(self._artifact.program, self._target, kinds, self._memory)

    def _extend(
        self,
        sequence: Sequence,
        token_ids: TokenIds,
        finish: Callable[[], Result],
        *,
        chunk: int | None = None,
        draws: Items[Draw] = (),
        progress: Progress | None = None,
    ) -> Result:
        """Append tokens in one call; what `finish` makes of the logits behind the last."""
        ids = self.checked_tokens(token_ids, len(sequence))
        begin = len(sequence)
        results: list[Result] = []
        with (
            self._interrupts.held(),
            self._returnable(sequence, len(ids)),
            self._call([sequence]),
        ):
            cuts = self._reuse(sequence, ids)
            for work in self._chunks(sequence, ids[len(sequence) - begin :], chunk, cuts):
                with self._alone():
                    self._steps.run([work], draws=draws)
                    if self.prefix is not None and len(sequence) in cuts:
                        self.prefix.keep(sequence.state)
                    if len(sequence) == work.call_length:
                        self._steps.find_logits()
                        self.store.keep_logits(sequence.state, 0)
                        results.append(finish())
                if progress is not None:
                    with self._interrupts.allowed():
                        progress(len(sequence) - begin)
        return results[0]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            raise RequestError(
                "the model is in use by another thread",
                expected="one thread at a time",
                fix="use a lock, or load the model once for each thread",
            )
        try:
            if self._closed:
                raise RequestError("the model is closed", fix="load it again")
            yield
        finally:
            self._lock.release()

    @contextmanager
    def _call(self, sequences: Items[Sequence]) -> Iterator[None]:
        """A call of sequences that go back to a snapshot, or break, if it is cut short."""
        begins = [len(sequence) for sequence in sequences]
        for sequence in sequences:
            sequence.require_usable()
        for sequence in sequences:
            sequence.busy = True
        try:
            yield
        except BaseException:
            with self._lock:
                for sequence, begin in zip(sequences, begins, strict=True):
                    if not (self._closed or sequence.closed):
                        self.history.recover(sequence, begin)
            raise
        finally:
            for sequence in sequences:
                sequence.busy = False

    @contextmanager
    def _returnable(self, sequence: Sequence, count: int) -> Iterator[None]:
        """Have a snapshot of the present state during a call of `count` tokens, if one is free."""
        sequence.require_usable()
        mark = None
        if (
            count > 1
            and self.store.snapshots.free
            and len(sequence) not in self.history.points(sequence)
        ):
            with self._alone(), suppress(MemoryBudgetError):
                mark = self.history.mark(sequence)
        try:
            yield
        finally:
            with self._lock:
                if mark is not None and not self._closed:
                    self.history.unmark(sequence, mark)

    def _reuse(self, sequence: Sequence, ids: np.ndarray) -> list[int]:
        """Begin with what the prefix cache has; the lengths at which it wants the state."""
        if self.prefix is None:
            return []
        begin = len(sequence)
        end = begin + len(ids)
        with self._alone():
            report = self.prefix.begin(sequence.state, ids, self._steps.rule.regime(end))
        sequence.prefix_report = report
        return self.prefix.cuts(len(sequence), end, report.known_tokens)

    def _prefix_cache(self, artifact: Artifact, options: PrefixOptions) -> PrefixCache:
        return PrefixCache(self.store, model_digest(artifact.manifest), options)

    def _chunks(
        self, sequence: Sequence, ids: np.ndarray, chunk: int | None, cuts: Items[int] = ()
    ) -> Iterator[Work]:
        """The steps of a call: at most `chunk` tokens each, none across one of the `cuts`."""
        size = min(self.chunk, checked_chunk(chunk, self.chunk))
        state = sequence.state
        call_length = state.length + len(ids)
        with self._alone():
            self.store.reserve(state, call_length)
        begin = state.length
        for last in dict.fromkeys([*cuts, call_length]):
            while state.length < last:
                first = state.length - begin
                yield Work(state, ids[first : min(first + size, last - begin)], call_length)
