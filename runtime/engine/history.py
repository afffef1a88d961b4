"""Where sequences can return to: snapshots of their own, and kept beginnings of their texts."""

from contextlib import suppress

from sala_compile.runtime.errors import DeviceError, MemoryBudgetError
from sala_compile.runtime.sequence import Sequence
from sala_compile.runtime.state.prefix_cache import PrefixCache
from sala_compile.runtime.state.store import Snapshot, StateStore


class History:
    """Takes sequences back to earlier lengths."""

    def __init__(self, store: StateStore, prefix: PrefixCache | None) -> None:
        self._store = store
        self._prefix = prefix

    def mark(self, sequence: Sequence) -> Snapshot:
        """Take a snapshot that belongs to the sequence; MemoryBudgetError where none is free."""
        snapshot = self._store.take_snapshot(sequence.state)
        sequence.marks.append(snapshot)
        return snapshot

    def unmark(self, sequence: Sequence, snapshot: Snapshot) -> None:
        """Let go of a snapshot of the sequence, if it still has it."""
        if snapshot in sequence.marks:
            sequence.marks.remove(snapshot)
            self._store.drop_snapshot(snapshot)

    def share_marks(self, sequence: Sequence, copy: Sequence) -> None:
        """Give the snapshots of a sequence to its fork as well."""
        for mark in sequence.marks:
            self._store.share_snapshot(mark)
            copy.marks.append(mark)

    def drop_marks(self, sequence: Sequence, length: int) -> None:
        """Let go of the sequence's snapshots beyond `length`."""
        for mark in [mark for mark in sequence.marks if mark.length > length]:
            sequence.marks.remove(mark)
            self._store.drop_snapshot(mark)

    def recover(self, sequence: Sequence, begin: int) -> None:
        """After a call that began at `begin` and was cut short: return there, or further back.

        The sequence is broken if there is no snapshot to return to but the beginning, or its
        device failed.
        """
        state = sequence.state
        if state.length == begin and not state.broken:
            self._store.trim(state)
            return
        state.broken = True
        point = max(point for point in self.points(sequence) if point <= begin)
        if point or begin == 0:
            with suppress(MemoryBudgetError, DeviceError):
                self.go_back(sequence, point)

    def go_back(self, sequence: Sequence, length: int) -> None:
        """Return to a snapshot; a kept beginning that serves as one may be evicted meanwhile."""
        snapshot = self.points(sequence)[length]
        if snapshot is not None:
            self._store.share_snapshot(snapshot)
        try:
            self._store.go_back(sequence.state, snapshot)
        finally:
            if snapshot is not None:
                self._store.drop_snapshot(snapshot)
        self.drop_marks(sequence, length)

    def points(self, sequence: Sequence) -> dict[int, Snapshot | None]:
        """The snapshots that a sequence can return to: its own, and kept beginnings of its text."""
        points: dict[int, Snapshot | None] = {0: None}
        if self._prefix is not None:
            entries = self._prefix.entries(sequence.state)
            points |= {length: entry.snapshot for length, entry in entries.items()}
        return points | {mark.length: mark for mark in sequence.marks}
