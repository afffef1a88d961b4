"""Runs steps: a ragged batch of new tokens through the prepared program."""

import threading
from collections.abc import Iterator
from collections.abc import Sequence as Items
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

from runtime.artifact import Artifact, InputName, PhaseName, Symbol
from runtime.device import CpuDevice
from runtime.errors import RequestError
from runtime.generation import Progress
from runtime.memory import Memory
from runtime.observe import Observer
from runtime.pages import PagePool, PageTable
from runtime.plan import LAST_LOGITS
from runtime.program import PreparedProgram
from runtime.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Work:
    """New tokens of one sequence in a step.

    `token_ids` is int32; `call_length` is the length of the sequence when its whole call is done.
    """

    sequence: Sequence
    token_ids: np.ndarray
    call_length: int


class Engine:
    """The loaded model as a machine for steps; one step at a time, from one thread at a time."""

    def __init__(self, artifact: Artifact, memory: Memory, device: CpuDevice, target: str) -> None:
        """Bind every kernel to its buffers."""
        self._memory = memory
        self._device = device
        self._program = artifact.program
        self._target = artifact.program.targets[target]
        self._phases = PreparedProgram(artifact.program, target, device, memory.tensors).phases
        self._symbols = memory.plan.symbols
        self._lock = threading.Lock()
        self._closed = False
        self.vocabulary = artifact.manifest.model.vocabulary
        self.context = memory.plan.sizes.context
        self.chunk = memory.plan.sizes.chunk
        self._bind_inputs()
        self._make_tables()

    def new_sequence(self) -> Sequence:
        """An empty sequence; MemoryBudgetError while as many are alive as were planned."""
        with self._alone():
            return Sequence(self, self.slots.take(1)[0])

    def release(self, sequence: Sequence) -> None:
        """Take back the slot and the pages of a sequence; called by its `close`."""
        with self._lock:
            self.pages.release(sequence.pages)
            self.compressed.release(sequence.compressed_pages)
            self.slots.release([sequence.slot])

    def close(self) -> None:
        """Refuse whatever is asked from now on."""
        with self._alone():
            self._closed = True
            self._phases = {}

    def append(
        self,
        sequence: Sequence,
        token_ids: Items[int] | np.ndarray,
        *,
        chunk: int | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Append tokens in one call; the sequence's own logits behind the last of them."""
        ids = self.checked_tokens(token_ids, sequence.length)
        row = self._last[sequence.slot]
        for work in self._chunks(sequence, ids, chunk):
            with self._alone():
                self._run([work])
                if sequence.length == work.call_length:
                    row[...] = self._logits_of(np.array([len(work.token_ids) - 1], np.int32))[0]
            if progress is not None:
                progress(len(ids) - (work.call_length - sequence.length))
        return row

    def all_logits(
        self,
        sequence: Sequence,
        token_ids: Items[int] | np.ndarray,
        *,
        chunk: int | None,
        observer: Observer | None,
    ) -> np.ndarray:
        """Append tokens in one call; the logits [tokens, vocabulary] behind each of them."""
        ids = self.checked_tokens(token_ids, sequence.length)
        result = np.empty((len(ids), self.vocabulary), np.float32)
        group = self._symbols[Symbol.LOGIT_ROWS]
        done = 0
        for work in self._chunks(sequence, ids, chunk):
            count = len(work.token_ids)
            with self._alone():
                self._run([work], observer)
                for first in range(0, count, group):
                    rows = np.arange(first, min(first + group, count), dtype=np.int32)
                    result[done + first : done + first + len(rows)] = self._logits_of(rows)
            done += count
        return result

    def step(self, batch: Items[Work], rows: Items[int] | np.ndarray) -> np.ndarray:
        """Run one step of several sequences; a copy of the logits of the step's token `rows`."""
        with self._alone():
            self._run(batch)
            return self._logits_of(np.asarray(rows, np.int32)).copy()

    def observer(self, kinds: Items[str]) -> Observer:
        """An observer for calls of `all_logits`."""
        return Observer(self._program, self._target, kinds, self._memory.arrays)

    def checked_tokens(self, token_ids: Items[int] | np.ndarray, history: int = 0) -> np.ndarray:
        """The ids as int32; RequestError if there are none, too many, or one is no token."""
        ids = np.asarray(token_ids)
        if ids.size == 0:
            raise RequestError("the prompt is empty", expected="at least one token")
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise RequestError(
                f"the prompt is an array of {ids.dtype}, {ids.ndim} dimensions",
                expected="a list of whole numbers",
            )
        wrong = np.flatnonzero((ids < 0) | (ids >= self.vocabulary))
        if len(wrong):
            raise RequestError(
                f"{ids[wrong[0]]} is not a token",
                where=f"token {wrong[0]} of the prompt",
                expected=f"ids from 0 to {self.vocabulary - 1}",
            )
        if history + len(ids) > self.context:
            raise RequestError(
                f"{history + len(ids)} tokens do not fit the context",
                expected=f"at most {self.context} tokens",
                fix="shorten the prompt, or load with a larger context",
            )
        return ids.astype(np.int32)

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

    def _chunks(self, sequence: Sequence, ids: np.ndarray, chunk: int | None) -> Iterator[Work]:
        if chunk is not None and chunk < 1:
            raise RequestError(
                f"a chunk of {chunk} tokens is asked", where="chunk", expected="1 or more"
            )
        size = self.chunk if chunk is None else min(chunk, self.chunk)
        call_length = sequence.length + len(ids)
        with self._alone():
            self._take_pages(sequence, call_length)
        for first in range(0, len(ids), size):
            yield Work(sequence, ids[first : first + size], call_length)

    def _run(self, batch: Items[Work], observer: Observer | None = None) -> None:
        """Run the batch up to the final hidden states, and advance its sequences."""
        tokens = sum(len(work.token_ids) for work in batch)
        self._check_capacity(batch, tokens)
        for work in batch:
            self._take_pages(work.sequence, work.sequence.length + len(work.token_ids))
        self._write_batch(batch, tokens)
        single = all(len(work.token_ids) == 1 for work in batch)
        phase = PhaseName.DECODE if single else PhaseName.PREFILL
        if self._memory.poison:
            self._memory.poison_arena()
        for work in batch:
            work.sequence.broken = True
        self._device.use_threads()
        if observer is None:
            self._phases[phase].run()
        else:
            self._phases[phase].run_observed(observer.hooks(phase, tokens))
        for work in batch:
            work.sequence.length += len(work.token_ids)
            work.sequence.broken = False

    def _check_capacity(self, batch: Items[Work], tokens: int) -> None:
        slots = {work.sequence.slot for work in batch}
        limits = self._symbols[Symbol.SEQUENCES], self._symbols[Symbol.TOKENS]
        if not 0 < len(slots) == len(batch) <= limits[0] or tokens > limits[1]:
            raise RequestError(
                f"a step of {len(batch)} sequences with {tokens} tokens is asked",
                expected=f"1 to {limits[0]} different sequences, at most {limits[1]} tokens",
                fix="load with a larger batch or chunk",
            )
        for work in batch:
            work.sequence.require_usable()

    def _take_pages(self, sequence: Sequence, length: int) -> None:
        """Own pages of both kinds for `length` tokens, or neither with MemoryBudgetError."""
        sequence.require_usable()
        self.pages.require(sequence.pages, length)
        self.compressed.extend(sequence.slot, sequence.compressed_pages, length)
        self.pages.extend(sequence.slot, sequence.pages, length)

    def _write_batch(self, batch: Items[Work], tokens: int) -> None:
        fields = self._inputs
        self._control[:3] = tokens, len(batch), 0
        end = 0
        for index, work in enumerate(batch):
            begin, end = end, end + len(work.token_ids)
            history = work.sequence.length
            fields[InputName.TOKENS][begin:end] = work.token_ids
            fields[InputName.TOKEN_SEQUENCE][begin:end] = index
            fields[InputName.TOKEN_POSITION][begin:end] = range(history, history + end - begin)
            fields[InputName.OFFSETS][index + 1] = end
            fields[InputName.HISTORY][index] = history
            fields[InputName.CALL_LENGTHS][index] = work.call_length
            fields[InputName.SLOTS][index] = work.sequence.slot

    def _logits_of(self, rows: np.ndarray) -> np.ndarray:
        """Logits of the last step's token `rows`, in a buffer that the next run overwrites."""
        assert len(rows) <= self._symbols[Symbol.LOGIT_ROWS]
        self._inputs[InputName.LOGIT_ROWS][: len(rows)] = rows
        self._control[2] = len(rows)
        self._phases[PhaseName.LOGITS].run()
        return self._logits[: len(rows)]

    def _bind_inputs(self) -> None:
        arrays = self._memory.arrays
        self._inputs = {name: arrays[name.value] for name in InputName}
        self._control = self._inputs[InputName.CONTROL]
        self._control[3] = self._device.threads
        self._logits = arrays[self._program.logits][:, : self.vocabulary]
        self._last = arrays[LAST_LOGITS][:, : self.vocabulary]

    def _make_tables(self) -> None:
        paging = self._program.paging
        self.slots = self._pool("sequences", Symbol.SLOTS)
        self.pages = PageTable(
            self._pool("KV pages", Symbol.PAGES),
            self._inputs[InputName.PAGE_TABLE],
            paging.page_tokens,
        )
        self.compressed = PageTable(
            self._pool("compressed pages", Symbol.COMPRESSED_PAGES),
            self._inputs[InputName.COMPRESSED_TABLE],
            paging.compressed_page_tokens,
        )

    def _pool(self, name: str, symbol: Symbol) -> PagePool:
        poison = partial(self._memory.poison_row, symbol) if self._memory.poison else None
        return PagePool(name, self._symbols[symbol], poison)
