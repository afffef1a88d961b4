"""How sequences begin, fork, return to earlier lengths, are saved to files and end."""

from pathlib import Path

import numpy as np

from sala_compile.runtime.engine.exclusive import Exclusive
from sala_compile.runtime.engine.limits import Limits, no_snapshot
from sala_compile.runtime.engine.logit_check import require_numbers
from sala_compile.runtime.engine.rollback import Rollback
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.state.saving import StateFiles
from sala_compile.runtime.state.store import State, StateStore


class States:
    """The states of all sequences of a loaded model, for their holders."""

    def __init__(
        self,
        store: StateStore,
        rollback: Rollback,
        files: StateFiles,
        limits: Limits,
        exclusive: Exclusive,
    ) -> None:
        self._store = store
        self._rollback = rollback
        self._files = files
        self._limits = limits
        self._exclusive = exclusive

    def open(self) -> State:
        """An empty sequence; MemoryBudgetError while as many are alive as were planned."""
        with self._exclusive.changing():
            return self._store.open()

    def close(self, state: State) -> None:
        """Take back all that a sequence holds; a second time does nothing."""
        if state.closed:
            return
        state.closed = True
        with self._exclusive.releasing():
            if not self._exclusive.closed:
                self._rollback.drop_beyond(state, -1)
                self._store.close(state)

    def fork(self, state: State) -> State:
        """A sequence that shares what does not change."""
        with self._exclusive.changing():
            settle(state)
            copy = self._store.fork(state)
            self._rollback.share(state, copy)
            return copy

    def save(self, state: State, path: Path) -> None:
        """Write the state of a sequence to a file."""
        with self._exclusive.entered():
            settle(state)
            self._files.save(state, path)

    def check_save(self, state: State, path: Path, more: int) -> None:
        """Refuse a state file that could not be written once `more` tokens are there."""
        self._files.check_output(path, state.length + more)

    def restore(self, path: Path) -> State:
        """A new sequence with the state in a file."""
        with self._exclusive.entered():
            return self._files.restore(path, self._limits.context)

    def snapshot(self, state: State) -> int:
        """Take a snapshot that belongs to the sequence; its length."""
        with self._exclusive.changing():
            settle(state)
            if state.length and all(each.length != state.length for each in state.snapshots):
                self._rollback.take(state)
            return state.length

    def drop_snapshot(self, state: State, length: int) -> None:
        """Release a snapshot that belongs to the sequence."""
        with self._exclusive.changing():
            for snapshot in [each for each in state.snapshots if each.length == length]:
                self._rollback.drop(state, snapshot)

    def snapshots(self, state: State) -> list[int]:
        """The lengths that a sequence can return to."""
        with self._exclusive.visited():
            return sorted(self._rollback.points(state))

    def truncate(self, state: State, length: int) -> None:
        """Return to a snapshot, or to the present length."""
        with self._exclusive.changing():
            if state.closed or state.call is not None:
                state.require_usable()
            if length == state.length and not state.broken:
                return
            points = sorted(self._rollback.points(state))
            if length not in points:
                raise no_snapshot(length, state.length, points)
            self._rollback.return_to(state, length)

    def token_ids(self, state: State) -> list[int]:
        """The tokens so far; RequestError if the model is closed."""
        state.require_usable()
        with self._exclusive.visited():
            settle(state)
            return self._store.token_ids(state).tolist()

    def last_logits(self, state: State) -> np.ndarray:
        """A copy of the logits [vocabulary] after the last token; RequestError if unknown.

        NotANumberError if one of them is NaN.
        """
        state.require_usable()
        with self._exclusive.visited():
            if not 0 < state.logits_at == state.length:
                raise RequestError(
                    "the logits after the last token were not computed", fix="append a token"
                )
            logits = self._store.last_logits(state)[: self._limits.vocabulary]
        return require_numbers(logits[None], state.length - 1)[0]


def settle(state: State) -> None:
    """Require a usable sequence, and wait for its last token if only a device knows it."""
    state.require_usable()
    if state.unknown is not None:
        state.unknown()
