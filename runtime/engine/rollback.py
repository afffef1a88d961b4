"""Where sequences can return to: snapshots of their own, and cached prefixes of theirs."""

from contextlib import suppress

from sala_compile.runtime.errors import DeviceError, MemoryBudgetError
from sala_compile.runtime.state.prefix_cache import PrefixCache
from sala_compile.runtime.state.store import Snapshot, State, StateStore


class Rollback:
    """Takes sequences back to earlier lengths."""

    def __init__(self, store: StateStore, prefix: PrefixCache | None) -> None:
        self._store = store
        self._prefix = prefix

    def take(self, state: State) -> Snapshot:
        """Take a snapshot that belongs to the sequence; MemoryBudgetError if none is free."""
        snapshot = self._store.take_snapshot(state)
        state.snapshots.append(snapshot)
        return snapshot

    def take_for_call(self, state: State) -> Snapshot | None:
        """A snapshot to return to if a call fails; None unless one is needed and free."""
        if not self._store.snapshots.free or state.length in self.points(state):
            return None
        with suppress(MemoryBudgetError):
            return self.take(state)
        return None

    def drop(self, state: State, snapshot: Snapshot) -> None:
        """Release a snapshot of the sequence, if it still has it."""
        if snapshot in state.snapshots:
            state.snapshots.remove(snapshot)
            self._store.drop_snapshot(snapshot)

    def drop_beyond(self, state: State, length: int) -> None:
        """Release the sequence's snapshots beyond `length`."""
        for snapshot in [each for each in state.snapshots if each.length > length]:
            self.drop(state, snapshot)

    def share(self, state: State, copy: State) -> None:
        """Give the snapshots of a sequence to its fork as well."""
        for snapshot in state.snapshots:
            self._store.share_snapshot(snapshot)
            copy.snapshots.append(snapshot)

    def points(self, state: State) -> dict[int, Snapshot | None]:
        """The lengths that a sequence can return to: its snapshots, and cached prefixes."""
        points: dict[int, Snapshot | None] = {0: None}
        if self._prefix is not None:
            entries = self._prefix.entries(state)
            points |= {length: entry.snapshot for length, entry in entries.items()}
        return points | {snapshot.length: snapshot for snapshot in state.snapshots}

    def return_to(self, state: State, length: int) -> None:
        """Return to one of the `points`; a cached prefix may be evicted meanwhile."""
        snapshot = self.points(state)[length]
        if snapshot is not None:
            self._store.share_snapshot(snapshot)
        try:
            self._store.rollback(state, snapshot)
        finally:
            if snapshot is not None:
                self._store.drop_snapshot(snapshot)
        self.drop_beyond(state, length)

    def recover(self, state: State, begin: int) -> None:
        """After a call that began at `begin` and was cut short: return there, or further back.

        The sequence is broken if there is no snapshot to return to but the beginning, or its
        device failed.
        """
        if state.closed:
            return
        if state.length == begin and not state.broken:
            self._store.trim(state)
            return
        state.broken = True
        point = max(point for point in self.points(state) if point <= begin)
        if point or begin == 0:
            with suppress(MemoryBudgetError, DeviceError):
                self.return_to(state, point)
