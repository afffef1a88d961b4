"""Columns of a block, split into floats once for all rows of a tile of queries."""

from collections.abc import Callable
from dataclasses import dataclass

from sala_compile.codegen.kernels.tir.builder import LANES, Expr, Tensor, lanes, loop
from sala_compile.codegen.kernels.tir.product import split_pairs


@dataclass(frozen=True, slots=True)
class SplitColumns:
    """Scratch memory [packs, parts, vectors, 16] of a worker: first all first values of packs.

    Those of pairs of bf16 are the even values, then the odd ones.
    """

    tensor: Tensor
    worker: Expr
    vectors: int
    parts: int = 2

    def fill(
        self, first: Expr, packs: Expr, vectors: int, operand: Callable[[int, Expr], Expr]
    ) -> None:
        """Emit the split of `packs` rows into those from `first` on.

        `operand(j, k)` is vector j of row k.
        """
        with loop(packs) as k:
            for j in range(vectors):
                for half, floats in enumerate(split_pairs(operand(j, k))):
                    self.put(first + k, half, j, floats)

    def pair(self, pack: Expr, vector: int) -> tuple[Expr, Expr]:
        """The even and the odd values of a vector."""
        return self.get(pack, 0, vector), self.get(pack, 1, vector)

    def put(self, pack: Expr, part: int, vector: int, floats: Expr) -> None:
        """Emit the write of the values of a vector in one part of a pack."""
        self.tensor[self.worker, self._place(pack, part, vector)] = floats

    def get(self, pack: Expr, part: int, vector: int) -> Expr:
        """Those values."""
        return self.tensor[self.worker, self._place(pack, part, vector)]

    def _place(self, pack: Expr, part: int, vector: int) -> Expr:
        return lanes(((pack * self.parts + part) * self.vectors + vector) * LANES)
