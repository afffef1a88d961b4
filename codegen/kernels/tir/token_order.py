"""How kernels of a recurrent state take the tokens of a sequence: in chunks, or one by one."""

from collections.abc import Callable

from sala_compile.codegen.kernels.tir.builder import Expr, held, let, long, loop, scalar, when
from sala_compile.codegen.kernels.tir.ir import T


def in_chunks(
    size: int, start: Expr, count: Expr, history: Expr, chunk: Callable[[Expr, Expr], None]
) -> None:
    """Emit `chunk(first row, tokens)` for the tokens from row `start` on, after `history` tokens.

    A chunk ends at a position that is a multiple of `size`, or with the last token.
    """
    before = let(history % size)
    with loop((before + count + size - 1) // size) as turn:
        done = let(turn * size)
        # Only the first chunk begins within its `size` positions.
        known = let(T.Select(turn == 0, T.int32(0), before))
        most = let(size - before + known)
        chunk(let(start + done - known), let(T.min(count + known - done, most)))


def one_by_one(
    slot: Expr,
    start: Expr,
    count: Expr,
    checkpoint: Expr,
    step: Callable[[Expr, Expr, Expr], None],
) -> None:
    """Emit `step(state before, state after, row)` for the tokens from row `start` on, in order.

    States are rows of the pool. With a `checkpoint` that is not negative, those after all tokens
    but the last go to the rows from there on, and the sequence's own row `slot` gets the last.
    """
    place = scalar(slot, "int64")
    with loop(count) as index:
        source = held(place[0], "int64")
        place[0] = slot
        with when(checkpoint >= 0), when(index < count - 1):
            place[0] = checkpoint + long(index)
        target = held(place[0], "int64")
        step(source, target, let(start + index))
