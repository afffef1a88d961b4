"""Calls of sequences: checked requests, cut into steps, one at a time."""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from typing import TypeVar

import numpy as np

from sala_compile.runtime.devices.interrupts import Interrupts
from sala_compile.runtime.devices.observe import Observer
from sala_compile.runtime.engine.batch import Work
from sala_compile.runtime.engine.exclusive import Exclusive
from sala_compile.runtime.engine.logit_check import require_numbers
from sala_compile.runtime.engine.recovery import Recovery
from sala_compile.runtime.engine.requests import Limits
from sala_compile.runtime.engine.stepper import Stepper
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.generation.generation import Progress
from sala_compile.runtime.generation.sampling import Draw
from sala_compile.runtime.sequence import Sequence, TokenIds
from sala_compile.runtime.state.prefix_cache import PrefixCache
from sala_compile.runtime.state.store import StateStore

Result = TypeVar("Result")


class Calls:
    """Appends tokens to sequences; a sequence whose call is cut short is recovered."""

    def __init__(
        self,
        limits: Limits,
        steps: Stepper,
        store: StateStore,
        recovery: Recovery,
        prefix: PrefixCache | None,
        exclusive: Exclusive,
        interrupts: Interrupts,
    ) -> None:
        self._limits = limits
        self._steps = steps
        self._store = store
        self._recovery = recovery
        self._prefix = prefix
        self._exclusive = exclusive
        self._interrupts = interrupts

    def append(
        self,
        sequence: Sequence,
        token_ids: TokenIds,
        *,
        chunk: int | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Append tokens in one call; a copy of the logits [vocabulary] behind the last of them.

        NotANumberError where one of them is NaN; the tokens are appended all the same.
        """

        def finish() -> np.ndarray:
            return self._logits_behind(sequence)

        logits = self.extend(sequence, token_ids, finish, chunk=chunk, progress=progress)
        return require_numbers(logits[None], len(sequence) - 1)[0]

    def extend(
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
        begin = len(sequence)
        ids = self._limits.checked_tokens(token_ids, begin)
        results: list[Result] = []
        with (
            self._interrupts.held(),
            self._recovery.returnable(sequence, len(ids)),
            self._recovery.call([sequence]),
        ):
            cuts = self._reuse(sequence, ids)
            for work in self._chunks(sequence, ids[len(sequence) - begin :], chunk, cuts):
                with self._exclusive.entered():
                    self._steps.run([work], draws=draws)
                    if self._prefix is not None and len(sequence) in cuts:
                        self._prefix.keep(sequence.state)
                    if len(sequence) == work.call_length:
                        self._steps.find_logits()
                        self._store.keep_logits(sequence.state, 0)
                        results.append(finish())
                if progress is not None:
                    with self._interrupts.allowed():
                        progress(len(sequence) - begin)
        return results[0]

    def all_logits(
        self,
        sequence: Sequence,
        token_ids: TokenIds,
        *,
        chunk: int | None,
        observer: Observer | None,
    ) -> np.ndarray:
        """Append tokens in one call; the logits [tokens, vocabulary] behind each of them."""
        ids = self._limits.checked_tokens(token_ids, len(sequence))
        result = np.empty((len(ids), self._limits.vocabulary), np.float32)
        group = self._limits.logit_rows
        done = 0
        with self._interrupts.held(), self._recovery.call([sequence]):
            for work in self._chunks(sequence, ids, chunk):
                count = len(work.token_ids)
                with self._exclusive.entered():
                    self._steps.run([work], observer)
                    rows = np.zeros(0, np.int32)
                    for first in range(0, count, group):
                        rows = np.arange(first, min(first + group, count), dtype=np.int32)
                        self._steps.find_logits(rows)
                        begin = done + first
                        result[begin : begin + len(rows)] = self._steps.logits()
                    done += count
                    if done == len(ids):
                        self._store.keep_logits(sequence.state, len(rows) - 1)
        return result

    def step(
        self, sequences: Items[Sequence], token_ids: Items[TokenIds], rows: Items[int] | None = None
    ) -> np.ndarray:
        """Append some tokens to each of several sequences, in one step and a call each.

        A copy of the logits of the step's token `rows`, the last of each sequence unless told.
        """
        ids = [
            self._limits.checked_tokens(tokens, len(sequence))
            for sequence, tokens in zip(sequences, token_ids, strict=True)
        ]
        batch = [
            Work(sequence.state, tokens, len(sequence) + len(tokens), generated=len(tokens) == 1)
            for sequence, tokens in zip(sequences, ids, strict=True)
        ]
        with self._interrupts.held(), self._recovery.call(sequences), self._exclusive.entered():
            self._steps.run(batch)
            self._steps.find_logits()
            for row, sequence in enumerate(sequences):
                self._store.keep_logits(sequence.state, row)
                if self._prefix is not None and len(sequence) % self._prefix.every == 0:
                    self._prefix.keep(sequence.state)
            if rows is not None:
                self._steps.find_logits(np.asarray(rows, np.int32))
            return self._steps.logits()

    def last_logits(self, sequence: Sequence) -> np.ndarray:
        """A copy of the logits [vocabulary] behind the last token; RequestError if unknown.

        NotANumberError where one of them is NaN.
        """
        with self._exclusive.visited():
            logits = self._logits_behind(sequence)
        return require_numbers(logits[None], len(sequence) - 1)[0]

    def _logits_behind(self, sequence: Sequence) -> np.ndarray:
        state = sequence.state
        if not 0 < state.logits_at == state.length:
            raise RequestError(
                "the logits behind the last token were not computed", fix="append a token"
            )
        return self._store.last_logits(state)[: self._limits.vocabulary]

    def _reuse(self, sequence: Sequence, ids: np.ndarray) -> list[int]:
        """Begin with what the prefix cache has; the lengths at which it wants the state."""
        if self._prefix is None:
            return []
        begin = len(sequence)
        end = begin + len(ids)
        with self._exclusive.entered():
            report = self._prefix.begin(sequence.state, ids, self._steps.rule.path(end))
        sequence.prefix_report = report
        return self._prefix.cuts(len(sequence), end, report.known_tokens)

    def _chunks(
        self, sequence: Sequence, ids: np.ndarray, chunk: int | None, cuts: Items[int] = ()
    ) -> Iterator[Work]:
        """The steps of a call: at most `chunk` tokens each, none across one of the `cuts`.

        A call of a single token counts as generated.
        """
        size = self._limits.checked_chunk(chunk)
        state = sequence.state
        call_length = state.length + len(ids)
        with self._exclusive.entered():
            self._store.reserve(state, call_length)
        begin = state.length
        for last in dict.fromkeys([*cuts, call_length]):
            while state.length < last:
                first = state.length - begin
                piece = ids[first : min(first + size, last - begin)]
                yield Work(state, piece, call_length, generated=len(ids) == 1)
