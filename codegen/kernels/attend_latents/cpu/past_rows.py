"""Where the rows of a tile of tokens are: blocks of the past, or the tokens of a selection."""

from collections.abc import Callable
from dataclasses import dataclass

from sala_compile.codegen.kernels.attend_latents.cpu.schedule import Schedule
from sala_compile.codegen.kernels.attend_latents.spec import Spec
from sala_compile.codegen.kernels.tir.builder import Expr, Tensor, Tensors, held, loop
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.page_access import page_of

Place = tuple[Expr, Expr]
"""A page (int64) and the row in it."""
Rows = Callable[[Expr], Place]
"""Where the rows of a block are, by their number in it."""


@dataclass(frozen=True, slots=True)
class SelectedTokens:
    """The list of the tokens that a query reads: those of its pools, ascending, then the tail.

    The tail begins with the first token after the `complete` pools, and ends with the query itself.
    """

    spec: Spec
    schedule: Schedule
    tensors: Tensors
    worker: Expr
    token: Expr
    position: Expr

    @property
    def complete(self) -> Expr:
        """Complete pools up to the query."""
        return held((self.position + 1) // self.spec.pool)

    @property
    def chosen(self) -> Expr:
        """Tokens of the pools that were chosen."""
        return held(T.min(self.complete, T.int32(self.spec.count)) * self.spec.pool)

    @property
    def length(self) -> Expr:
        """Tokens of the list: at least one."""
        return held(self.chosen + (self.position + 1) % self.spec.pool)

    def find(self, table_row: Expr, first: Expr, count: Expr) -> None:
        """Emit pages and rows of `count` tokens of the list from number `first` on."""
        spec, places = self.spec, self.tensors.places
        chosen, tail = self.chosen, held(self.complete * spec.pool)
        with loop(count) as index:
            number = held(first + index)
            entry = held(T.min(number, chosen - 1) // spec.pool)
            pool = held(self.tensors.selection[self.token, T.max(entry, 0)])
            within = pool * spec.pool + number % spec.pool
            token = held(T.if_then_else(number < chosen, within, tail + number - chosen))
            page = self.tensors.page_table[table_row, token // spec.page_tokens]
            places[self.worker, 2 * index] = page
            places[self.worker, 2 * index + 1] = token % spec.page_tokens

    def rows(self, first: Expr) -> Rows:
        """Where the tokens of a block are, of which `first` is the number in the tile."""
        places = self.tensors.places

        def place(row: Expr) -> Place:
            index = held(2 * (first + row))
            page = held(T.Cast("int64", places[self.worker, index]), "int64")
            return page, held(places[self.worker, index + 1])

        return place


@dataclass(frozen=True, slots=True)
class TokenTile:
    """`live` blocks whose scores are kept together, from block `first` on.

    Blocks of the past have a page each (int64); those of a list have places of their tokens.
    """

    spec: Spec
    first: Expr
    live: Expr
    last: Expr
    """The position of the last token that is read."""
    past: SelectedTokens | None
    pages: Tensor | None

    def find(self, table: Tensor, table_row: Expr) -> None:
        """Emit where the rows are."""
        size = self.spec.block_size
        if self.past is not None:
            self.past.find(table_row, held(self.first * size), held(self.written))
            return
        assert self.pages is not None, "blocks of the past have pages"
        with loop(self.live) as b:
            index = held((self.first + b) // self.spec.page_blocks)
            self.pages[b] = page_of(table, table_row, index)

    def position(self, block: Expr) -> Expr:
        """The position of the first token of a block of the tile."""
        return (self.first + block) * self.spec.block_size

    @property
    def written(self) -> Expr:
        """Tokens of the tile up to the last one that is read."""
        return T.min(self.last + 1 - self.position(0), self.live * self.spec.block_size)

    def rows(self, block: Expr) -> Rows:
        """Emit what is the same for a block; its rows are found by their number in it."""
        if self.past is not None:
            return self.past.rows(held(block * self.spec.block_size))
        assert self.pages is not None, "blocks of the past have pages"
        page, begin = held(self.pages[block], "int64"), held(self._begin(block))
        return lambda row: (page, begin + row)

    def _begin(self, block: Expr) -> Expr:
        """The token of its page at which a block of the tile begins."""
        if self.spec.page_blocks == 1:
            return T.int32(0)
        return (self.first + block) % self.spec.page_blocks * self.spec.block_size
