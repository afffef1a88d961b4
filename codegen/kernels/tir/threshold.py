"""The largest integer that a number of others reach, by their bits: an exact choice of the best."""

from collections.abc import Callable

from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensor,
    lanes,
    let,
    loop,
    registers,
    scalar,
    splat,
    when,
)
from sala_compile.codegen.kernels.tir.ir import T

MAGNITUDE_BITS = 31
"""Bits of an integer that is not negative."""
LOWEST = -(2**MAGNITUDE_BITS)
"""The integer below all others: no rank of a number."""


def integers(value: int) -> Expr:
    """16 times an integer."""
    return splat(T.int32(value))


def count_where(read: Callable[[Expr], Expr], number: Expr, counts: Callable[[Expr], Expr]) -> Expr:
    """Emit how many of `number` ranks count, as a float.

    `read(i)` gives the 16 ranks from number i on; those after the last one must not count.
    """
    hits = registers(1, "int32")
    hits[0] = integers(0)
    with loop((number + (LANES - 1)) // LANES) as v:
        hits[0] = hits[0] + T.Select(counts(read(v * LANES)), integers(1), integers(0))
    return let(vector.total(T.Cast(vector.FLOATS, hits[0])))


def threshold(
    read: Callable[[Expr], Expr], number: Expr, wanted: Expr | int, *, signed: bool = False
) -> Expr:
    """Emit the search for the largest integer that at least `wanted` of the ranks reach.

    One bit a step from the highest down, counting the ranks at or above the candidate. Ranks are
    not negative unless `signed`.
    """
    enough = T.Cast("float32", wanted) if not isinstance(wanted, int) else T.float32(wanted)
    found = scalar(T.int32(LOWEST if signed else 0), "int32")

    def keep_if_reached(candidate: Expr) -> None:
        count = count_where(read, number, lambda ranks: ranks >= splat(candidate))
        with when(count >= enough):
            found[0] = candidate

    if signed:
        keep_if_reached(T.int32(0))
    with loop(MAGNITUDE_BITS) as step:
        # Binary search over bits: keep a bit if enough ranks still reach the candidate.
        keep_if_reached(let(found[0] + T.shift_left(T.int32(1), MAGNITUDE_BITS - 1 - step)))
    return found[0]


def read_from(ranks: Tensor, *place: Expr) -> Callable[[Expr], Expr]:
    """The ranks of a row of a tensor from a place on."""
    *outer, start = place
    return lambda index: ranks[(*outer, lanes(start + index))]
