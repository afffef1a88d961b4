"""Runs calls: checked requests cut into steps, one call at a time."""

import threading
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from runtime.artifact import Artifact, PhaseName, Symbol
from runtime.batch import Work
from runtime.device import CpuDevice
from runtime.errors import MemoryBudgetError, RequestError
from runtime.generation import Progress
from runtime.history import History
from runtime.interrupts import Interrupts
from runtime.memory import Memory
from runtime.observe import Observer
from runtime.prefix_cache import PrefixCache, PrefixOptions
from runtime.program import PreparedPhase
from runtime.requests import checked_chunk, checked_tokens, no_snapshot
from runtime.saving import StateFiles, model_digest
from runtime.sequence import Sequence, TokenIds
from runtime.stepper import Stepper
from runtime.store import StateStore

Wrap = Callable[[PhaseName, PreparedPhase], PreparedPhase]
"""A phase that stands in for another, for measurements."""


class Engine:
    """The loaded model as a machine for steps; one step at a time, from one thread at a time."""

    def __init__(
        self,
        artifact: Artifact,
        memory: Memory,
        device: CpuDevice,
        target: str,
        prefix: PrefixOptions | None = None,
    ) -> None:
        """Bind every kernel to its buffers; `prefix` asks for a prefix cache."""
        self._memory = memory
        self._artifact = artifact
        self._target = artifact.program.targets[target]
        self._lock = threading.Lock()
        self._closed = False
        self.store = StateStore(memory, artifact.program)
        self._interrupts = Interrupts()
        self._steps = Stepper(artifact, memory, device, target, self.store, self._interrupts)
        self.vocabulary = artifact.manifest.model.vocabulary
        self.context = memory.plan.sizes.context
        self.chunk = memory.plan.sizes.chunk
        self._files = StateFiles(artifact.manifest, artifact.program, memory.arrays, self.store)
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
            self._steps.phases = {}

    def append(
        self,
        sequence: Sequence,
        token_ids: TokenIds,
        *,
        chunk: int | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Append tokens in one call; a copy of the logits [vocabulary] behind the last of them."""
        ids = self.checked_tokens(token_ids, len(sequence))
        begin = len(sequence)
        with (
            self._interrupts.held(),
            self._returnable(sequence, len(ids)),
            self._call([sequence]),
        ):
            cuts = self._reuse(sequence, ids)
            for work in self._chunks(sequence, ids[len(sequence) - begin :], chunk, cuts):
                with self._alone():
                    self._steps.run([work])
                    if self.prefix is not None and len(sequence) in cuts:
                        self.prefix.keep(sequence.state)
                    if len(sequence) == work.call_length:
                        row = np.array([len(work.token_ids) - 1], np.int32)
                        self.store.set_logits(sequence.state, self._steps.logits_of(row)[0])
                if progress is not None:
                    with self._interrupts.allowed():
                        progress(len(sequence) - begin)
            return self.last_logits(sequence)

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
                    for first in range(0, count, group):
                        rows = np.arange(first, min(first + group, count), dtype=np.int32)
                        found = self._steps.logits_of(rows)
                        result[done + first : done + first + len(rows)] = found
                done += count
            self.store.set_logits(sequence.state, result[-1])
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
        ends = np.cumsum([len(tokens) for tokens in ids]).astype(np.int32)
        batch = [
            Work(sequence.state, tokens, len(sequence) + len(tokens))
            for sequence, tokens in zip(sequences, ids, strict=True)
        ]
        with self._interrupts.held(), self._call(sequences), self._alone():
            self._steps.run(batch)
            last = self._steps.logits_of(ends - 1)
            for sequence, row in zip(sequences, last, strict=True):
                self.store.set_logits(sequence.state, row)
                if self.prefix is not None and len(sequence) % self.prefix.every == 0:
                    self.prefix.keep(sequence.state)
            found = last if rows is None else self._steps.logits_of(np.asarray(rows, np.int32))
            return found.copy()

    def last_logits(self, sequence: Sequence) -> np.ndarray:
        """A copy of the logits [vocabulary] behind the last token; RequestError if unknown."""
        state = sequence.state
        if not 0 < state.logits_at == state.length:
            raise RequestError(
                "the logits behind the last token were not computed", fix="append a token"
            )
        return self.store.logits[state.slot, : self.vocabulary].copy()

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
        """Run inside what `wrap` makes of each phase."""
        phases = self._steps.phases
        self._steps.phases = {name: wrap(name, phase) for name, phase in phases.items()}
        try:
            yield
        finally:
            if not self._closed:
                self._steps.phases = phases

    def observer(self, kinds: Items[str]) -> Observer:
        """An observer for calls of `all_logits`."""
        return Observer(self._artifact.program, self._target, kinds, self._memory.arrays)

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
