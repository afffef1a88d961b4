"""Keys or values of one head that are in no page: those of recent tokens, then of new ones."""

from collections.abc import Callable
from dataclasses import dataclass

from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    Expr,
    Tensor,
    held,
    let,
    long,
    loop,
    splat,
    when,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.tile import live_lanes

Load = Callable[[int, int], Expr]
"""Up to 16 floats of a head, from a column on: (column, live lanes)."""


@dataclass(frozen=True, slots=True)
class RecentRows:
    """Rows of `history` tokens, the last `count` of which `recent` has [slots, heads, count, D].

    That of token t is in place t % count. Those of new tokens are float32, rows of `new` from
    `start` on, columns from `column` on.
    """

    element: Element
    head_dim: int
    count: int
    recent: Tensor
    new: Tensor
    slot: Expr
    head: Expr
    column: int
    start: Expr
    history: Expr

    def each(self, begin: Expr, end: Expr, body: Callable[[Expr, Load], None]) -> None:
        """Emit `body(token, load)` for tokens from `begin` on, in their order."""
        middle = held(T.min(T.max(self.history, begin), end))
        with loop(middle - begin) as turn:
            token = let(begin + turn)
            body(token, lambda column, live: self._recent(token, column, live))
        with loop(end - middle) as turn:
            later = let(middle + turn)
            body(later, lambda column, live: self._rounded(later, column, live))

    def keep_between(self, row: Expr, length: Expr) -> None:
        """Emit what is kept after `length` tokens into a row that has something else."""
        with when(self.history > 0), loop(self.count) as place:
            self._store(row, place, lambda column, live: self._recent(place, column, live))
        self.keep(row, length)

    def keep(self, row: Expr, length: Expr) -> None:
        """Emit the newest of `length` tokens into a row with the older ones.

        Places of a new sequence that no token has become 0.
        """
        first = held(T.max(self.history, length - self.count))
        with loop(length - first) as turn:
            token = let(first + turn)
            self._store(row, token, lambda column, live: self._new(token, column, live))
        with when(self.history == 0), loop(T.max(self.count - length, 0)) as turn:
            self._store(row, let(length + turn), lambda column, live: splat(0.0))

    def _store(self, row: Expr, token: Expr, load: Load) -> None:
        place = (row, self.head, let(token % self.count))
        for column, live in live_lanes(self.head_dim):
            value = load(column, live)
            self.element.store(self.recent, *place, column, value=value, count=live)

    def _recent(self, token: Expr, column: int, live: int) -> Expr:
        place = (long(self.slot), self.head, token % self.count, column)
        return self.element.load(self.recent, *place, count=live)

    def _new(self, token: Expr, column: int, live: int) -> Expr:
        at = self.column + self.head * self.head_dim + column
        return Element.F32.load(self.new, self.start + token - self.history, at, count=live)

    def _rounded(self, token: Expr, column: int, live: int) -> Expr:
        return rounded(self.element, self._new(token, column, live))


def rounded(element: Element, value: Expr) -> Expr:
    """16 floats rounded to an element type, as floats."""
    return value if element is Element.F32 else vector.from_bf16(vector.to_bf16(value))


def keep_all(checkpoint: Expr, rows: RecentRows, length: Expr) -> None:
    """Emit what is kept of a sequence of `length` tokens into its own row.

    With a `checkpoint` also what is kept after each drafted token before the last, into the rows
    from there on.
    """
    first = let(long(checkpoint))
    with when(first >= 0), loop(length - rows.history - 1) as drafted:
        rows.keep_between(let(first + long(drafted)), let(rows.history + drafted + 1))
    rows.keep(let(long(rows.slot)), length)
