"""Kernels that go row by row: how rows are shared, walked in vectors, and padded."""

from collections.abc import Callable

from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Control,
    Expr,
    KernelBuilder,
    Tensor,
    let,
    loop,
    registers,
    splat,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.team import workers
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.attributes import Rows

ALONE_ELEMENTS = 1 << 14
"""Elements that one thread handles sooner than it wakes the others."""


def for_rows(
    builder: KernelBuilder,
    control: Control,
    rows: Expr,
    columns: int,
    body: Callable[[Expr], None],
) -> None:
    """Emit `body(row)` for the live rows, shared between the workers unless they are few."""
    alone = rows <= max(1, ALONE_ELEMENTS // columns)
    workers(builder, control, lambda team: team.static(rows, body), alone=alone)


def live_rows(control: Control, extent: str) -> Expr:
    """The live count that gives the rows of an activation, by its name in a spec."""
    sizes = {Rows.TOKENS: control.tokens, Rows.LOGIT_ROWS: control.logit_rows}
    return sizes[Rows(extent)]


def for_vectors(columns: int, body: Callable[[Expr, int], None], *, together: int = 4) -> None:
    """Emit `body(first column, live lanes)` for the vectors of a row of `columns`.

    A loop body has `together` of them; the last may have fewer than 16 live lanes.
    """
    whole, tail = divmod(columns, LANES)
    rounds = whole // together
    if rounds:
        with loop(rounds) as turn:
            for offset in range(together):
                body(let((turn * together + offset) * LANES), LANES)
    for index in range(rounds * together, whole):
        body(index * LANES, LANES)
    if tail:
        body(whole * LANES, tail)


def sum_of_squares(columns: int, load: Callable[[Expr, int], Expr]) -> Expr:
    """Emit the sum of the squares of `load(column, live lanes)` and return it, a scalar.

    Vector i of the row joins partial sum i mod 4, in order; lanes that are not live must be 0.
    """
    return _sum(columns, load, lambda value, total: vector.fma(value, value, total))


def sum_of_values(columns: int, load: Callable[[Expr, int], Expr]) -> Expr:
    """Emit the sum of `load(column, live lanes)` in the order of `sum_of_squares`, a scalar."""
    return _sum(columns, load, lambda value, total: total + value)


def _sum(
    columns: int, load: Callable[[Expr, int], Expr], joined: Callable[[Expr, Expr], Expr]
) -> Expr:
    together = 4
    sums = registers(together).fill(together)
    place = iter(range(columns))

    def add(column: Expr, count: int) -> None:
        value = let(load(column, count))
        index = next(place) % together
        sums[index] = joined(value, sums[index])

    for_vectors(columns, add, together=together)
    return let(vector.total((sums[0] + sums[1]) + (sums[2] + sums[3])))


def clear_padding(element: Element, tensor: Tensor, row: Expr, columns: int) -> None:
    """Emit zeros for the columns that pad a row to its pitch."""
    missing = padded(columns) - columns
    if missing:
        element.store(tensor, row, columns, value=splat(0.0), count=missing)
