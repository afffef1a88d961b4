"""States that have a name: read once, and kept until they are deleted."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import numpy as np

from sala_compile.runtime.engine.engine import Engine
from sala_compile.runtime.errors import RequestError, SalaError, StateFileError
from sala_compile.runtime.serving.kept.kept_prefixes import KeptPrefixes, Pinning
from sala_compile.runtime.serving.kept.named_state import (
    NamedState,
    UnknownState,
    checked_id,
    encoded_ids,
)
from sala_compile.runtime.serving.work.event import End, Ended, Event
from sala_compile.runtime.serving.work.job import Job, Reuse

MOST_STATES = 10_000
_PATIENCE = 120.0
"""Seconds that a state may take to be written."""
_POLL = 0.02
Result = TypeVar("Result")


class Worker(Protocol):
    """The thread that owns the engine."""

    def submit(self, *jobs: Job) -> None:
        """Let jobs wait for their turn."""
        ...

    def between_steps(self, errand: Callable[[Engine], Result]) -> "Future[Result]":
        """Have a function called with the engine between two steps."""
        ...


class NamedStates:
    """The named states of one model, in its prefix directory. Any thread may call."""

    def __init__(self, kept: KeptPrefixes, worker: Worker, model: str) -> None:
        """Find those that are there; `model` is the digest of the checkpoint.

        Before the worker begins. RequestError if the directory cannot be written.
        """
        self._kept = kept
        self._worker = worker
        self._model = model
        self._records = kept.folder.records(model)
        self._lock = threading.Lock()
        self._held: dict[str, str] = {}
        """The files that stay for a state, by its id."""
        self._states = self._found()
        kept.folder.when_refreshed = self._follow

    def create(
        self,
        name: str,
        ids: np.ndarray,
        *,
        messages: Sequence[dict[str, Any]] | None = None,
        prompt: str | Sequence[int] | None = None,
        client: str = "",
        cancelled: Callable[[], bool] = lambda: False,
    ) -> NamedState:
        """Read a text, whose tokens are `ids`, keep its state, and give it a name.

        Waits for it. A state of that name is replaced. RequestError for an id that is none or too
        many states, StateFileError if it cannot be written; errors of the job are raised as well.
        """
        checked_id(name)
        with self._lock:
            if name not in self._states and len(self._states) >= MOST_STATES:
                raise RequestError(
                    f"there are {MOST_STATES} states already", where="id", fix="delete some"
                )
        self._read(ids, client, cancelled)
        stem = self._pinned(ids)
        state = NamedState(
            id=name,
            model=self._model,
            created=int(time.time()),
            messages=None if messages is None else [*messages],
            prompt=prompt if isinstance(prompt, str | None) else [*prompt],
            tokens=encoded_ids(ids),
            kept=stem,
        )
        try:
            with self._lock:
                self._records.write(state)
                self._states[name] = state.light()
                self._let_go(name)
                self._held[name] = stem
        except OSError as problem:
            self._kept.folder.unpin(stem)
            raise StateFileError(
                f"the state {name!r} cannot be written: {problem.strerror or problem}",
                fix="free space",
            ) from None
        return state

    def get(self, name: str) -> NamedState:
        """The state of that id; UnknownState if there is none."""
        with self._lock:
            known = self._states.get(checked_id(name))
        if known is not None or self._records.is_shared:
            try:
                return self._records.read(name)
            except StateFileError as problem:
                if known is not None:
                    self._kept.folder.tell("damaged", problem.found)
        raise UnknownState(
            f"there is no state {name!r}", where="state_id", fix="create it with POST /v1/states"
        )

    def delete(self, name: str) -> None:
        """Remove a state, and files that nothing else needs; UnknownState if there is none."""
        with self._lock:
            known = self._states.pop(checked_id(name), None)
            if known is None and self._records.is_shared:
                with suppress(StateFileError):
                    known = self._records.read(name)
            self._records.remove(name)
            self._held.pop(name, None)
        if known is None:
            raise UnknownState(f"there is no state {name!r}", where="state_id")
        self._kept.folder.unpin(known.kept, remove=True)

    def all(self) -> list[NamedState]:
        """All states by their age, without their texts."""
        if self._records.is_shared:
            self._follow()
        with self._lock:
            return sorted(self._states.values(), key=lambda state: (state.created, state.id))

    def size(self, state: NamedState) -> int:
        """Bytes of the files of a state; others may need some of them as well."""
        return self._kept.folder.size(state.kept)

    def _read(self, ids: np.ndarray, client: str, cancelled: Callable[[], bool]) -> None:
        """Have a text read, as it is by every server."""
        ended, over = threading.Event(), list[Ended]()

        def sink(events: Sequence[Event]) -> None:
            over.extend(event for event in events if isinstance(event, Ended))
            if over:
                ended.set()

        job = Job(ids, 0, sink, reuse=Reuse.READ, client=client)
        self._worker.submit(job)
        while not ended.wait(_POLL):
            if cancelled():
                job.cancel()
        last = over[0]
        if last.end is not End.LENGTH:
            raise last.error or SalaError(f"the text was not read: {last.end}")

    def _pinned(self, ids: np.ndarray) -> str:
        """The file of a text that was read, which stays from now on; empty for a short text."""
        end = time.monotonic() + _PATIENCE
        found = self._worker.between_steps(lambda _: self._kept.pin(ids, again=True)).result()
        while found is Pinning.WAITS and time.monotonic() < end:
            time.sleep(_POLL)
            found = self._worker.between_steps(lambda _: self._kept.pin(ids)).result()
        if isinstance(found, Pinning):
            raise StateFileError(
                "the state cannot be written to the prefix directory",
                expected="room for it in half of the directory's size",
                fix="delete other states, or give a larger --prefix-dir-size",
            )
        return found

    def _found(self) -> dict[str, NamedState]:
        """The records that are there, whose files stay from now on."""
        states = self._records.all(lambda problem: self._kept.folder.tell("damaged", problem.found))
        for state in states:
            if self._held.get(state.id) != state.kept:
                self._let_go(state.id)
                if self._kept.folder.pin(state.kept):
                    self._held[state.id] = state.kept
        return {state.id: state for state in states}

    def _follow(self) -> None:
        """Learn what other servers saved and deleted; their files stay here as long as theirs."""
        with suppress(StateFileError), self._lock:
            self._states = self._found()
            for name in self._held.keys() - self._states.keys():
                self._let_go(name)

    def _let_go(self, name: str) -> None:
        """Have the files of a state stay no longer, if they do."""
        held = self._held.pop(name, None)
        if held is not None:
            self._kept.folder.unpin(held)
