"""The register tiles of the rows of several tokens, or of one, over the columns of a block."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sala_compile.codegen.kernels.attend_blocks.cpu.page_fetch import PageFetch
from sala_compile.codegen.kernels.attend_blocks.cpu.query_rows import QueryRows
from sala_compile.codegen.kernels.tir.builder import LANES, Expr, held, let, loop
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.tile import cover_columns, even_width

Fetch = Callable[[Expr], None] | None
"""What is emitted with every pack of a product."""


@dataclass(frozen=True, slots=True)
class RegisterTiles:
    """All rows meet some columns before the next columns come: these stay in the nearest cache.

    The first rows of a token fetch what is read next line by line as they read. Of several tokens
    the pairs are split once for all rows, and each register tile fetches an equal part: of `packs`
    rows of packs.
    """

    work: QueryRows
    several: bool
    packs: int = 0
    fetches: Sequence[PageFetch] = ()

    def fetching(self, packs: int, fetches: Sequence[PageFetch]) -> "RegisterTiles":
        """The same tiles, with what is read next."""
        return replace(self, packs=packs, fetches=fetches)

    @property
    def height(self) -> int:
        """Rows of a register tile."""
        schedule = self.work.schedule
        return schedule.row_tile if self.several else schedule.token_rows

    @property
    def splits(self) -> bool:
        """Whether pairs, or words of integers, are split ahead of the rows."""
        return self.several and (self.work.product.splits or self.work.spec.is_rounded)

    def cover(
        self,
        columns: int,
        split: Callable[[Expr, int], None],
        body: Callable[[Expr, Sequence[int], Expr, Fetch], None],
    ) -> None:
        """Emit `body(first column, live lanes, first row, fetch)` for all tiles.

        `split(first column, vectors)` is emitted ahead of the rows if pairs are split.
        """
        schedule, height = self.work.schedule, self.height
        count = held((self.work.rows + (height - 1)) // height)
        share = held((self.packs + count - 1) // count)

        def token(vector_index: Expr, live: Sequence[int]) -> None:
            left = let(vector_index * LANES)
            body(left, live, 0, lambda pack: self._fetch(pack, left, live))
            for top in range(height, self.work.spec.group, height):
                body(left, live, top, None)

        def tokens(vector_index: Expr, live: Sequence[int]) -> None:
            left = let(vector_index * LANES)
            if self.splits:
                split(left, len(live))
            with loop(count) as turn:
                end = T.min((turn + 1) * share, T.int32(self.packs))
                with loop(end, turn * share) as pack:
                    self._fetch(pack, left, live)
                body(left, live, let(turn * height), None)

        if self.several:
            cover_columns(columns, even_width(columns, schedule.column_vectors), tokens)
        else:
            cover_columns(columns, even_width(columns, schedule.token_vectors), token)

    def _fetch(self, pack: Expr, left: Expr, live: Sequence[int]) -> None:
        first = let(left // LANES * self.packs + pack * len(live))
        far = self.several or self.work.schedule.fetches_far
        for each in self.fetches:
            each.lines(first, len(live), far=far)
