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

    A tile has `height` rows of up to `vectors` vectors. What is read next is fetched line by line
    as they read, `packs` rows of packs: of one token all tiles of rows fetch equal parts, where
    their vectors divide. Of several tokens the pairs are split once for all rows, and each register
    tile fetches an equal part.
    """

    work: QueryRows
    several: bool
    height: int
    vectors: int
    packs: int = 0
    fetches: Sequence[PageFetch] = ()

    def fetching(self, packs: int, fetches: Sequence[PageFetch]) -> "RegisterTiles":
        """The same tiles, with what is read next."""
        return replace(self, packs=packs, fetches=fetches)

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
        height, group = self.height, self.work.spec.group
        count = held((self.work.rows + (height - 1)) // height)
        share = held((self.packs + count - 1) // count)

        def token(vector_index: Expr, live: Sequence[int]) -> None:
            left, width = let(vector_index * LANES), len(live)
            tops = range(0, group, height)
            parts = max(n for n in range(1, len(tops) + 1) if width % n == 0)
            lines = width // parts
            for part, top in enumerate(tops):
                start = let(left // LANES * self.packs + part * self.packs * lines)

                def fetch(pack: Expr, start: Expr = start) -> None:
                    self._fetch(start + pack * lines, lines)

                body(left, live, top, fetch if part < parts else None)

        def tokens(vector_index: Expr, live: Sequence[int]) -> None:
            left = let(vector_index * LANES)
            if self.splits:
                split(left, len(live))
            with loop(count) as turn:
                end = T.min((turn + 1) * share, T.int32(self.packs))
                with loop(end, turn * share) as pack:
                    first = let(left // LANES * self.packs + pack * len(live))
                    self._fetch(first, len(live))
                body(left, live, let(turn * height), None)

        cover_columns(columns, even_width(columns, self.vectors), tokens if self.several else token)

    def _fetch(self, first: Expr, lines: int) -> None:
        far = self.several or self.work.schedule.fetches_far
        for each in self.fetches:
            each.lines(first, lines, far=far)
