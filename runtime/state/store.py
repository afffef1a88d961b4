"""The state of all sequences: slots, pages and token ids, and every way to share and copy them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from sala_compile.runtime.artifact import Program, Symbol
from sala_compile.runtime.devices.device import Memory
from sala_compile.runtime.errors import MemoryBudgetError, RequestError
from sala_compile.runtime.plan import LAST_LOGITS, TOKEN_IDS
from sala_compile.runtime.state.attention_paths import PathSpans
from sala_compile.runtime.state.page_groups import PageGroups, Pages, Partial, no_pages
from sala_compile.runtime.state.pages import PagePool
from sala_compile.runtime.state.text_history import Link, TextHistory


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a sequence at `length`, besides the full pages, which never change.

    `slot` is one of the snapshots' own; `partial` are copies of the pages that were filled in part,
    by their groups.
    """

    length: int
    slot: int
    partial: Partial
    has_logits: bool


@dataclass(eq=False, slots=True)
class State:
    """What one sequence holds.

    `slot` is its row in recurrent pools, page tables, token ids and logits; the logits in that row
    are those after token `logits_at`. While `broken`, the slot's contents belong to no length.
    `snapshots` are the sequence's own. `history` says how the tokens were computed, `links` are the
    prefix cache's digests of the first pages. `call` is the call that the sequence is in the middle
    of. `unknown` waits for its last token and writes it down, if only a device knows it. States of
    different `salt` share no kept prefix.
    """

    slot: int
    length: int = 0
    pages: Pages = field(default_factory=no_pages)
    spans: PathSpans = field(default_factory=PathSpans)
    logits_at: int = 0
    broken: bool = False
    links: list[Link] = field(default_factory=list[Link])
    snapshots: list[Snapshot] = field(default_factory=list[Snapshot])
    history: TextHistory = field(default_factory=TextHistory)
    call: object = None
    unknown: Callable[[], None] | None = None
    salt: bytes = b""
    closed: bool = False

    @property
    def known_length(self) -> int:
        """How many of the first tokens the host knows."""
        return self.length - (self.unknown is not None)

    def require_usable(self, call: object = None) -> None:
        """Raise RequestError if the sequence is closed, in another call, or was cut short."""
        if self.closed:
            raise RequestError("the sequence is closed", fix="begin a new sequence")
        if self.call is not call:
            raise RequestError("the sequence is in the middle of a call", fix="wait for its end")
        if self.broken:
            raise interruption()


def interruption() -> RequestError:
    """The refusal to continue a sequence whose state is of no length."""
    return RequestError(
        "the sequence was interrupted and cannot continue",
        expected="a sequence whose state is whole",
        fix="truncate it to a snapshot or to 0, or begin a new sequence",
    )


class StateStore:
    """Keeps states in the pools of a memory. Every method does all that it says, or nothing."""

    def __init__(self, memory: Memory, program: Program) -> None:
        """All slots and pages are free."""
        sizes = memory.plan.sizes
        self._memory = memory
        self._logits = program.logits
        self.sequences = sizes.sequences
        self.tokens = memory.host(TOKEN_IDS)
        self.slots = PagePool("sequences", sizes.sequences, self._poison(0))
        self.snapshots = PagePool("snapshots", sizes.snapshots, self._poison(sizes.sequences))
        self._first_checkpoint = sizes.sequences + sizes.snapshots
        self.page_tokens = program.paging.page_tokens
        self.groups = PageGroups(memory, program.paging)

    def open(self) -> State:
        """The state of an empty sequence; MemoryBudgetError if no slot is free."""
        return State(self.slots.take(1)[0])

    def close(self, state: State) -> None:
        """Take back all that `state` holds."""
        self.groups.release(state.pages)
        self.slots.release([state.slot])

    def reserve(self, state: State, length: int) -> None:
        """Own pages of all groups for `length` tokens, or none with MemoryBudgetError."""
        self.groups.extend(state.slot, state.pages, length)

    def missing(self, state: State | None, length: int) -> dict[str, int]:
        """How many pages a sequence, or a new one, is missing for `length` tokens, by pool."""
        return self.groups.missing(no_pages() if state is None else state.pages, length)

    @property
    def pools(self) -> dict[str, PagePool]:
        """The pools by name: `sequences`, `snapshots`, and the pages of each group."""
        return {"sequences": self.slots, "snapshots": self.snapshots, **dict(self.groups.pools())}

    def pool(self, name: str) -> PagePool:
        """The pool of this name."""
        return next(pool for pool in self.pools.values() if pool.name == name)

    def trim(self, state: State) -> None:
        """Let go of pages that were reserved and not begun."""
        self.groups.trim(state.pages, state.length)

    def grow(self, state: State, token_ids: np.ndarray, path: str) -> None:
        """Note that the tokens were computed, on an attention path."""
        end = state.length + len(token_ids)
        self.tokens[state.slot, state.length : end] = token_ids
        state.spans = state.spans.grown(end, path)
        state.length = end

    def keep_logits(self, state: State, row: int) -> None:
        """Keep row `row` of the newest logits as those after the last token."""
        self._memory.keep_row(self._logits, row, LAST_LOGITS, state.slot)
        state.logits_at = state.length

    def set_logits(self, state: State, logits: np.ndarray) -> None:
        """Keep given logits [vocabulary] as those after the last token."""
        row = np.zeros(self._memory.plan.places[LAST_LOGITS].shape[1:], np.float32)
        row[: len(logits)] = logits
        self._memory.write_rows(LAST_LOGITS, [state.slot], row[None])
        state.logits_at = state.length

    def last_logits(self, state: State) -> np.ndarray:
        """A copy of the logits after token `logits_at`, and padding."""
        return self._memory.read_rows(LAST_LOGITS, [state.slot])[0]

    def fork(self, state: State) -> State:
        """The same tokens in another slot: full pages shared, the others and the slot copied."""
        copy = self.open()
        try:
            self.groups.adopt(copy.slot, copy.pages, state.pages, state.length)
        except MemoryBudgetError:
            self.close(copy)
            raise
        copy.length, copy.logits_at, copy.spans = state.length, state.logits_at, state.spans
        copy.links, copy.history, copy.salt = list(state.links), state.history, state.salt
        self.keep_state(state, copy.slot)
        self.tokens[copy.slot, : state.length] = self.token_ids(state)
        return copy

    def take_snapshot(self, state: State) -> Snapshot:
        """A copy of what changes with the next token; MemoryBudgetError if none fits."""
        number = self.snapshots.take(1)[0]
        try:
            partial = self.groups.duplicate(state.pages, state.length)
        except MemoryBudgetError:
            self.snapshots.release([number])
            raise
        slot = self.sequences + number
        self.keep_state(state, slot)
        return Snapshot(state.length, slot, partial, state.logits_at == state.length)

    def blank_snapshot(self, length: int) -> Snapshot:
        """A snapshot whose rows the caller writes; MemoryBudgetError if none fits."""
        number = self.snapshots.take(1)[0]
        try:
            partial = self.groups.blank(length)
        except MemoryBudgetError:
            self.snapshots.release([number])
            raise
        return Snapshot(length, self.sequences + number, partial, has_logits=False)

    def share_snapshot(self, snapshot: Snapshot) -> None:
        """Hold a snapshot once more."""
        self.snapshots.share([snapshot.slot - self.sequences])
        self.groups.keep(snapshot.partial)

    def drop_snapshot(self, snapshot: Snapshot) -> None:
        """Release a snapshot once."""
        self.snapshots.release([snapshot.slot - self.sequences])
        self.groups.drop(snapshot.partial)

    def rollback(self, state: State, snapshot: Snapshot | None) -> None:
        """Make `state` what it was at one of its snapshots, or empty without one."""
        length = 0 if snapshot is None else snapshot.length
        partial: Partial = {} if snapshot is None else snapshot.partial
        self.groups.shorten(state.slot, state.pages, length, partial)
        if snapshot is not None:
            self._return_state(state, snapshot.slot)
        self._shorten(state, length, snapshot is not None and snapshot.has_logits)

    def adopt(self, state: State, full: Pages, snapshot: Snapshot) -> None:
        """Make an empty `state` that of `snapshot`, whose full pages are given.

        The caller writes the tokens.
        """
        assert not any(state.pages.values()), "the state is not empty"
        given = no_pages()
        for name, pages in full.items():
            given[name] = [*pages, *([snapshot.partial[name]] if name in snapshot.partial else ())]
        self.groups.adopt(state.slot, state.pages, given, snapshot.length)
        self._return_state(state, snapshot.slot)
        self._set_length(state, snapshot.length, snapshot.has_logits)

    def checkpoint_row(self, number: int) -> int:
        """The row of pools for a state between the drafted tokens of a step."""
        return self._first_checkpoint + number

    def keep_state(self, state: State, row: int) -> None:
        """Copy what changes with each token, pages apart, to a row of the pools."""
        self._memory.copy_row(Symbol.SLOTS, state.slot, row)

    def cut(self, state: State, length: int, row: int | None) -> None:
        """Drop the last tokens of a step that nobody else has seen.

        `row` of the pools has the state at `length`; None if no state but pages changes.
        """
        self.groups.trim(state.pages, length)
        if row is not None:
            self._return_state(state, row)
        self._shorten(state, length, has_logits=False)

    def token_ids(self, state: State) -> np.ndarray:
        """The tokens, int32 [length]; a view."""
        return self.tokens[state.slot, : state.length]

    def _shorten(self, state: State, length: int, has_logits: bool) -> None:
        self._set_length(state, length, has_logits)
        state.spans = state.spans.cut(length)
        state.history = state.history.cut(length)
        state.unknown = None
        del state.links[length // self.page_tokens :]

    def _set_length(self, state: State, length: int, has_logits: bool) -> None:
        state.length = length
        state.logits_at = length if has_logits else 0
        state.broken = False

    def _return_state(self, state: State, row: int) -> None:
        """Copy what `keep_state` did back."""
        self._memory.copy_row(Symbol.SLOTS, row, state.slot)

    def _poison(self, first: int) -> Callable[[int], None] | None:
        """What poisons a released slot, counted from `first` on; None without poison."""
        if not self._memory.poison:
            return None
        return lambda number: self._memory.poison_row(Symbol.SLOTS, first + number)
