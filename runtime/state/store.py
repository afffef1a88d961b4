"""The state of all sequences: slots, pages and texts, and every way to share and copy them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial as bind

import numpy as np

from sala_compile.runtime.artifact import InputName, Program, Symbol
from sala_compile.runtime.devices.device import Memory
from sala_compile.runtime.errors import MemoryBudgetError, RequestError
from sala_compile.runtime.plan import LAST_LOGITS, TOKEN_IDS
from sala_compile.runtime.state.attention_paths import PathSpans
from sala_compile.runtime.state.pages import PagePool, PageTable


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a sequence at `length`, beside the full pages, which never change.

    `slot` is one of the snapshots' own; `page` and `compressed_page` are copies of the pages that
    were filled in part.
    """

    length: int
    slot: int
    page: int | None
    compressed_page: int | None
    has_logits: bool


@dataclass(eq=False, slots=True)
class State:
    """What one sequence holds.

    `slot` is its row in recurrent pools, page tables, texts and logits; the logits in that row
    are those after token `logits_at`. While `broken`, the slot's contents belong to no length.
    `page_hashes` are the prefix cache's digests of the first pages, `snapshots` are the sequence's
    own. The first `exact_length` tokens were read as one text would be, cut where that changes no
    bit. `call` is the call that the sequence is in the middle of. `unknown` waits for its last
    token and writes it down, where only a device knows it.
    """

    slot: int
    length: int = 0
    pages: list[int] = field(default_factory=list)
    compressed_pages: list[int] = field(default_factory=list)
    spans: PathSpans = field(default_factory=PathSpans)
    logits_at: int = 0
    broken: bool = False
    page_hashes: list[bytes] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    exact_length: int = 0
    call: object = None
    unknown: Callable[[], None] | None = None
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
    """The refusal to go on with a sequence whose state is of no length."""
    return RequestError(
        "the sequence was interrupted and cannot go on",
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
        self.slots = PagePool("sequences", sizes.sequences, self._poison(Symbol.SLOTS))
        self.snapshots = PagePool("snapshots", sizes.snapshots, self._poison_snapshot())
        paging = program.paging
        self.pages = self._table("KV pages", Symbol.PAGES, InputName.PAGE_TABLE, paging.page_tokens)
        self.compressed = self._table(
            "compressed pages",
            Symbol.COMPRESSED_PAGES,
            InputName.COMPRESSED_TABLE,
            paging.compressed_page_tokens,
        )

    def open(self) -> State:
        """The state of an empty text; MemoryBudgetError where no slot is free."""
        return State(self.slots.take(1)[0])

    def close(self, state: State) -> None:
        """Take back all that `state` holds."""
        self.pages.release(state.pages)
        self.compressed.release(state.compressed_pages)
        self.slots.release([state.slot])

    def reserve(self, state: State, length: int) -> None:
        """Own pages of both kinds for `length` tokens, or neither with MemoryBudgetError."""
        self.pages.require(state.pages, length)
        self.compressed.extend(state.slot, state.compressed_pages, length)
        self.pages.extend(state.slot, state.pages, length)

    def missing(self, state: State | None, length: int) -> dict[str, int]:
        """How many pages a sequence, or a new one, lacks for `length` tokens, by pool."""
        tables = (
            (self.pages, [] if state is None else state.pages),
            (self.compressed, [] if state is None else state.compressed_pages),
        )
        return {table.pool.name: table.missing(owned, length) for table, owned in tables}

    def pool(self, name: str) -> PagePool:
        """The pool of this name."""
        return next(
            pool
            for pool in (self.slots, self.snapshots, self.pages.pool, self.compressed.pool)
            if pool.name == name
        )

    def trim(self, state: State) -> None:
        """Let go of pages that were reserved and not begun."""
        self.pages.trim(state.pages, state.length)
        self.compressed.trim(state.compressed_pages, state.length)

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
        """The same text in another slot: full pages shared, the others and the slot copied."""
        copy = self.open()
        try:
            self._adopt(copy, state.pages, state.compressed_pages, state.length)
        except MemoryBudgetError:
            self.close(copy)
            raise
        copy.length, copy.logits_at, copy.spans = state.length, state.logits_at, state.spans
        copy.page_hashes = list(state.page_hashes)
        copy.exact_length = state.exact_length
        self._copy_slot(state.slot, copy.slot, state.length)
        return copy

    def take_snapshot(self, state: State) -> Snapshot:
        """A copy of what changes with the next token; MemoryBudgetError where none fits."""
        number = self.snapshots.take(1)[0]
        page = compressed = None
        try:
            page = self.pages.duplicate(self.pages.partial(state.pages, state.length))
            compressed = self.compressed.duplicate(
                self.compressed.partial(state.compressed_pages, state.length)
            )
        except MemoryBudgetError:
            self.pages.pool.release([] if page is None else [page])
            self.snapshots.release([number])
            raise
        slot = self.sequences + number
        self._copy_slot(state.slot, slot, 0)
        has_logits = state.logits_at == state.length
        return Snapshot(state.length, slot, page, compressed, has_logits)

    def share_snapshot(self, snapshot: Snapshot) -> None:
        """Hold a snapshot once more."""
        self.snapshots.share([snapshot.slot - self.sequences])
        self.pages.pool.share(_some(snapshot.page))
        self.compressed.pool.share(_some(snapshot.compressed_page))

    def drop_snapshot(self, snapshot: Snapshot) -> None:
        """Let go of a snapshot once."""
        self.snapshots.release([snapshot.slot - self.sequences])
        self.pages.pool.release(_some(snapshot.page))
        self.compressed.pool.release(_some(snapshot.compressed_page))

    def rollback(self, state: State, snapshot: Snapshot | None) -> None:
        """Make `state` what it was at one of its snapshots, or empty without one."""
        length = 0 if snapshot is None else snapshot.length
        page = None if snapshot is None else snapshot.page
        compressed = None if snapshot is None else snapshot.compressed_page
        tables = (
            (self.pages, state.pages, page),
            (self.compressed, state.compressed_pages, compressed),
        )
        for table, owned, partial in tables:
            table.pool.require(table.shortening(owned, length, partial))
        for table, owned, partial in tables:
            table.shorten(state.slot, owned, length, partial)
        if snapshot is not None:
            self._copy_slot(snapshot.slot, state.slot, 0)
        self._set_length(state, length, snapshot is not None and snapshot.has_logits)
        state.spans = state.spans.cut(length)
        state.exact_length = min(state.exact_length, length)
        state.unknown = None
        del state.page_hashes[length // self.pages.page_tokens :]

    def adopt(
        self,
        state: State,
        pages: Sequence[int],
        compressed_pages: Sequence[int],
        snapshot: Snapshot,
    ) -> None:
        """Make an empty `state` the text of `snapshot`, whose full pages are given.

        The caller writes the tokens.
        """
        assert not state.pages, "the state is not empty"
        full, compressed = list(pages), list(compressed_pages)
        full += _some(snapshot.page)
        compressed += _some(snapshot.compressed_page)
        self._adopt(state, full, compressed, snapshot.length)
        self._copy_slot(snapshot.slot, state.slot, 0)
        self._set_length(state, snapshot.length, snapshot.has_logits)

    def token_ids(self, state: State) -> np.ndarray:
        """The tokens, int32 [length]; a view."""
        return self.tokens[state.slot, : state.length]

    def _adopt(
        self, state: State, pages: list[int], compressed_pages: list[int], length: int
    ) -> None:
        for table, given, owned in (
            (self.pages, pages, state.pages),
            (self.compressed, compressed_pages, state.compressed_pages),
        ):
            full = given[: length // table.page_tokens]
            try:
                owned += table.adopt(state.slot, full, table.partial(given, length))
            except MemoryBudgetError:
                self.pages.release(state.pages)
                raise

    def _set_length(self, state: State, length: int, has_logits: bool) -> None:
        state.length = length
        state.logits_at = length if has_logits else 0
        state.broken = False

    def _copy_slot(self, source: int, target: int, length: int) -> None:
        self._memory.copy_row(Symbol.SLOTS, source, target)
        self.tokens[target, :length] = self.tokens[source, :length]

    def _table(self, name: str, symbol: Symbol, table: InputName, page_tokens: int) -> PageTable:
        copy = bind(self._memory.copy_row, symbol)
        pool = PagePool(name, self._memory.plan.symbols[symbol], self._poison(symbol))
        return PageTable(pool, self._memory.host(table.value), page_tokens, copy)

    def _poison(self, symbol: Symbol):
        return bind(self._memory.poison_row, symbol) if self._memory.poison else None

    def _poison_snapshot(self):
        if not self._memory.poison:
            return None
        return lambda number: self._memory.poison_row(Symbol.SLOTS, self.sequences + number)


def _some(page: int | None) -> list[int]:
    return [] if page is None else [page]
