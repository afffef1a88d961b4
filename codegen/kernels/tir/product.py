"""Products of rounded rows, kept in scratch memory, with operands of a pool.

Two ways for bf16. Pairs: scratch holds bf16 and one instruction takes two products, which is best
where the processor issues it every cycle. Widened: scratch holds the rounded values as floats, and
each pair of the pool is split into two vectors of floats that all the rows of a tile share.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import LANES, Expr, Tensor, lanes, let, loop, splat
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.tile import Tile
from sala_compile.codegen.targets.cpu import CpuTarget

BITS = f"uint32x{LANES}"

Starts = list[tuple[Expr, ...]]
"""Where each row of a tile begins in scratch memory."""


def widens(target: CpuTarget) -> bool:
    """Whether the widened way is faster on the target."""
    return not target.has_fast_bf16_dot


def split_pairs(pairs: Expr) -> tuple[Expr, Expr]:
    """The even and the odd values of 16 pairs of bf16 (32 bits each), as floats."""
    return half_of_pairs(pairs, 0), half_of_pairs(pairs, 1)


def half_of_pairs(pairs: Expr, half: int) -> Expr:
    """The even (0) or the odd (1) values of 16 pairs of bf16, as floats."""
    bits = let(T.reinterpret(pairs, dtype=BITS))
    kept = bits & splat(T.uint32(0xFFFF0000)) if half else T.shift_left(bits, splat(T.uint32(16)))
    return let(T.reinterpret(kept, dtype=vector.FLOATS))


@dataclass(frozen=True, slots=True)
class Product:
    """How rows of scratch memory are multiplied by the packs of a pool of `element`."""

    element: Element
    widened: bool

    @property
    def splits(self) -> bool:
        """Whether pairs of the pool are split into floats."""
        return self.widened and self.element is Element.BF16

    @property
    def stored(self) -> Element:
        """The element of the scratch memory."""
        return Element.F32 if self.splits else self.element

    @property
    def dtype(self) -> str:
        """Type of the scratch memory."""
        return self.stored.dtype

    @property
    def in_floats(self) -> bool:
        """Whether the scratch memory holds floats, so that a factor needs no rounding to bf16."""
        return self.dtype == "float32"

    def keep(self, scratch: Tensor, *place: Expr, value: Expr, factor: float = 1.0) -> None:
        """Emit the rounding of 16 floats to the element type and their write to scratch memory.

        Where that holds floats they may be multiplied by a factor, after the rounding.
        """
        assert factor == 1.0 or self.in_floats, "a factor would be rounded to bf16"
        *rows, column = place
        if self.splits:
            value = vector.from_bf16(vector.to_bf16(value))
        if factor != 1.0:
            value = value * splat(factor)
        if self.in_floats:
            scratch[(*rows, lanes(column))] = value
        else:
            self.element.store(scratch, *place, value=value)

    def accumulate(
        self,
        tile: Tile,
        packs: Expr,
        scratch: Tensor,
        rows: Callable[[int], tuple[Expr, ...]],
        right: Callable[[int, Expr], Expr],
        meanwhile: Callable[[Expr], None] | None = None,
        *,
        are_split: bool = False,
        again: Callable[[int, Expr], Expr] | None = None,
    ) -> None:
        """Emit `tile[i, j] += row i * column j` over `packs` packs, in ascending order.

        `rows(i)` is where row i begins in scratch memory, `right(j, k)` the k-th 16 packs of the
        pool for column vector j (`Element.operand`), or their even and odd values where they
        `are_split`; `meanwhile(k)` is emitted with every pack. `again` is `right` by another read,
        so that a large tile need not keep pairs in registers until their odd values are used.
        """
        starts = [rows(i) for i in range(tile.rows)]
        with loop(packs) as k:
            columns = [right(j, k) for j in range(tile.vectors)]
            if meanwhile is not None:
                meanwhile(k)
            if not self.splits:
                self._add_packs(tile, k, scratch, starts, columns)
                return
            for half in range(2):
                if are_split:
                    floats = [pair[half] for pair in columns]
                else:
                    if half and again is not None:
                        columns = [again(j, k) for j in range(tile.vectors)]
                    floats = [half_of_pairs(column, half) for column in columns]
                self._add_half(tile, k * 2 + half, scratch, starts, floats)

    def _add_packs(
        self, tile: Tile, k: Expr, scratch: Tensor, starts: Starts, columns: list[Expr]
    ) -> None:
        for i, (*outer, start) in enumerate(starts):
            row = self.element.spread(scratch, *outer, start + k * self.element.pack)
            for j, column in enumerate(columns):
                tile[i, j] = self.element.dot(tile[i, j], column, row)

    @staticmethod
    def _add_half(
        tile: Tile, value: Expr, scratch: Tensor, starts: Starts, floats: list[Expr]
    ) -> None:
        for i, (*outer, start) in enumerate(starts):
            row = let(splat(scratch[(*outer, start + value)]))
            for j, column in enumerate(floats):
                tile[i, j] = vector.fma(row, column, tile[i, j])
