"""What becomes of sequences whose call is cut short."""

from collections.abc import Iterator
from collections.abc import Sequence as Items
from contextlib import contextmanager, suppress

from sala_compile.runtime.engine.exclusive import Exclusive
from sala_compile.runtime.engine.history import History
from sala_compile.runtime.errors import MemoryBudgetError
from sala_compile.runtime.sequence import Sequence
from sala_compile.runtime.state.store import StateStore


class Recovery:
    """Takes sequences back to a snapshot where a call fails or is cancelled."""

    def __init__(self, store: StateStore, history: History, exclusive: Exclusive) -> None:
        self._store = store
        self._history = history
        self._exclusive = exclusive

    @contextmanager
    def call(self, sequences: Items[Sequence]) -> Iterator[None]:
        """A call of sequences that go back to a snapshot, or break, if it is cut short."""
        begins = [len(sequence) for sequence in sequences]
        for sequence in sequences:
            sequence.require_usable()
        for sequence in sequences:
            sequence.busy = True
        try:
            yield
        except BaseException:
            with self._exclusive.awaited():
                for sequence, begin in zip(sequences, begins, strict=True):
                    if not (self._exclusive.closed or sequence.closed):
                        self._history.recover(sequence, begin)
            raise
        finally:
            for sequence in sequences:
                sequence.busy = False

    @contextmanager
    def returnable(self, sequence: Sequence, count: int) -> Iterator[None]:
        """Have a snapshot of the present state during a call of `count` tokens, if one is free."""
        sequence.require_usable()
        mark = None
        if (
            count > 1
            and self._store.snapshots.free
            and len(sequence) not in self._history.points(sequence)
        ):
            with self._exclusive.entered(), suppress(MemoryBudgetError):
                mark = self._history.mark(sequence)
        try:
            yield
        finally:
            with self._exclusive.awaited():
                if mark is not None and not self._exclusive.closed:
                    self._history.unmark(sequence, mark)
