"""The choice of blocks: their scores, the threshold that enough of them reach, the list."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.select_blocks.spec import Spec
from sala_compile.codegen.kernels.tir.builder import (
    Expr,
    Tensor,
    lanes,
    let,
    loop,
    scalar,
    splat,
    when,
)
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.threshold import (
    MAGNITUDE_BITS,
    count_where,
    integers,
    read_from,
    threshold,
)

MAGNITUDE = 2**MAGNITUDE_BITS - 1
"""Clears the sign, which only a NaN can have: floats that are not negative keep their order as
integers. It is also the largest rank, that of a NaN with all bits set: nothing may be added to a
rank, or it becomes negative and no list is complete."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The list of one query, from the scores of the windows that `scores` has by slot.

    `scores` and `ranks` are workspaces with a row for each worker, `scores_at` is the place of
    slot 0; `token` and `head` name the row of `blocks`.
    """

    spec: Spec
    worker: Expr
    scores: Tensor
    scores_at: int
    ranks: Tensor
    blocks: Tensor
    token: Expr
    head: Expr
    first_local: Expr

    @property
    def first_competing(self) -> int:
        """The first block that is neither forced nor local."""
        return self.spec.init_blocks

    def emit(self) -> None:
        """Emit everything."""
        competing = let(self.first_local - self.first_competing)
        if self.spec.chosen:
            self._score_blocks(competing)
            reached = threshold(read_from(self.ranks, self.worker, 0), competing, self.spec.chosen)
            self._list_chosen(competing, let(reached))
        self._list_forced()

    def _list_block(self, place: Expr, block: Expr) -> None:
        self.blocks[self.token, self.head, place] = block

    def _score_blocks(self, competing: Expr) -> None:
        """Emit the largest score of the windows that overlap a block, as an integer."""
        ratio = self.spec.ratio
        with loop(competing) as index:
            start = let(self.scores_at + (self.first_competing + index) * ratio)
            best = self._rank(start)
            for offset in range(1, ratio + 1):
                best = T.max(best, self._rank(start + offset))
            self.ranks[self.worker, index] = best
        self.ranks[self.worker, lanes(competing)] = integers(-1)

    def _rank(self, place: Expr) -> Expr:
        """The score at a place of the workspace as an integer; a NaN is above all numbers."""
        bits = T.reinterpret(self.scores[self.worker, place], dtype="int32")
        return T.bitwise_and(bits, T.int32(MAGNITUDE))

    def _list_forced(self) -> None:
        """Emit the initial blocks and the local ones."""
        spec = self.spec
        for block in range(spec.init_blocks):
            self._list_block(block, T.int32(block))
        with loop(spec.window_blocks + 1) as index:
            self._list_block(spec.init_blocks + spec.chosen + index, self.first_local + index)

    def _list_chosen(self, competing: Expr, reached: Expr) -> None:
        """Emit the blocks above the threshold, and of those at it the first ones, ascending."""
        ranks = read_from(self.ranks, self.worker, 0)
        above = count_where(ranks, competing, lambda ranks: ranks > splat(reached))
        ties = scalar(T.int32(self.spec.chosen) - T.Cast("int32", above), "int32")
        place = scalar(T.int32(self.spec.init_blocks), "int32")
        with loop(competing) as index:
            rank = let(self.ranks[self.worker, index])

            def take() -> None:
                self._list_block(place[0], self.first_competing + index)
                place[0] = place[0] + 1

            with when(rank > reached):
                take()
            with when(T.And(rank == reached, ties[0] > 0)):
                take()
                ties[0] = ties[0] - 1
