"""The two products of a tile: queries by keys, probabilities by values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sala_compile.codegen.kernels.attend_blocks.cpu.page_fetch import PageFetch, inside, values_of
from sala_compile.codegen.kernels.attend_blocks.cpu.query_rows import MASKED, PartialRow, QueryRows
from sala_compile.codegen.kernels.attend_blocks.cpu.register_tiles import Fetch, RegisterTiles
from sala_compile.codegen.kernels.attend_blocks.cpu.running_softmax import score_scale
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensor,
    choose,
    let,
    loop,
    splat,
)
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.tile import Tile, tile, zero_tile
from sala_compile.codegen.layouts.padding import padded


@dataclass(frozen=True, slots=True)
class BlockTile:
    """`live` blocks whose scores are kept together: their pages, and their first positions."""

    live: Expr
    pages: Tensor
    firsts: Tensor


def score_keys(work: QueryRows, blocks: BlockTile, index: Expr, following: Expr) -> None:
    """Emit the scores of all rows for one block; those of keys that a row may not read: MASKED.

    What is at the address `following` is read next.
    """
    spec, pool = work.spec, work.tensors.k_pool
    size, packs = padded(spec.block_size), spec.head_dim // spec.element.pack
    page, first = let(blocks.pages[index]), let(blocks.firsts[index])

    def score(tiles: RegisterTiles) -> None:
        fetches = [PageFetch(following, size, int(pool.buffer.shape[3]))]
        if tiles.several:  # Their values are not read before all of the tile's keys.
            fetches.append(PageFetch(let(values_of(work, page, first)), work.columns, work.columns))

        def emit(masked: bool) -> None:
            _score(work, index, page, first, tiles.fetching(packs, fetches), masked=masked)

        if tiles.several and size == spec.block_size:
            is_last = first + (spec.block_size - 1) > work.position
            choose(is_last, lambda: emit(True), lambda: emit(False))
        else:
            emit(True)

    choose_tiles(work, score)


def add_values(work: QueryRows, blocks: BlockTile, begin: Expr, end: Expr, following: Expr) -> None:
    """Emit output = factor * output + probabilities * values of some blocks, from the first on.

    Only written values are read; what is at the address `following` is read next.
    """
    packs = padded(work.spec.block_size) // work.spec.element.pack
    fetch = PageFetch(following, work.columns, work.columns)

    def add(tiles: RegisterTiles) -> None:
        _add(work, blocks, begin, end, tiles.fetching(packs, [fetch]))

    choose_tiles(work, add, one=work.schedule.value_tile)


def choose_tiles(
    work: QueryRows, emit: Callable[[RegisterTiles], None], one: tuple[int, int] | None = None
) -> None:
    """Emit the rows of several tokens, and those of a single one with tiles of the shape `one`."""
    schedule = work.schedule
    several = RegisterTiles(work, True, schedule.row_tile, schedule.column_vectors)
    single = RegisterTiles(work, False, *(one or schedule.token_tile))
    choose(work.count > 1, lambda: emit(several), lambda: emit(single))


def _score(
    work: QueryRows, index: Expr, page: Expr, first: Expr, tiles: RegisterTiles, *, masked: bool
) -> None:
    spec, element, pool = work.spec, work.spec.element, work.tensors.k_pool
    size, start, scale = padded(spec.block_size), inside(work, first), splat(score_scale(spec))
    packs = spec.head_dim // element.pack

    def place(column: Expr, d: Expr) -> tuple[Expr, ...]:
        return page, work.head, d, start + column, 0

    def split(left: Expr, vectors: int) -> None:
        work.split.fill(
            0, packs, vectors, lambda j, d: element.operand(pool, *place(left + j * LANES, d))
        )

    def columns(left: Expr, live: Sequence[int], top: Expr, fetch: Fetch) -> None:
        scores = zero_tile(tiles.height, len(live))

        def right(j: int, d: Expr) -> Expr:
            if tiles.splits:
                return work.split.pair(d, j)
            return element.operand(pool, *place(left + j * LANES, d))

        work.product.accumulate(
            scores,
            packs,
            work.tensors.operands,
            lambda i: (work.worker, work.query(top + i)),
            right,
            fetch,
            are_split=tiles.splits,
            again=lambda j, d: vector.load_pairs_again(pool, *place(left + j * LANES, d)),
        )
        for i in range(tiles.height):
            last = work.position + (top + i) // spec.group - first
            readable = let(T.min(last + 1, T.int32(spec.block_size)) - left)
            target = work.scores(top + i) + index * size + left
            for j in range(len(live)):
                score = scores[i, j] * scale
                if masked:
                    score = vector.first_lanes(score, readable - j * LANES, splat(MASKED))
                work.keep(target + j * LANES, score)

    tiles.cover(size, split, columns)


def _add(work: QueryRows, blocks: BlockTile, begin: Expr, end: Expr, tiles: RegisterTiles) -> None:
    spec, element, pool = work.spec, work.spec.element, work.tensors.v_pool
    size, pages, firsts = padded(spec.block_size), blocks.pages, blocks.firsts
    last = let(work.position + work.count - 1)

    def packs(b: Expr) -> Expr:
        """Packs of values of a block that were written."""
        tokens = T.min(last - firsts[b] + 1, T.int32(spec.block_size))
        return let((tokens + (element.pack - 1)) // element.pack)

    def place(b: Expr, column: Expr, t: Expr) -> tuple[Expr, ...]:
        start = inside(work, firsts[b]) // element.pack
        return pages[b], work.head, start + t, column, 0

    def split_at(b: Expr) -> Expr:
        return let((b - begin) * (size // element.pack))

    def split(left: Expr, vectors: int) -> None:
        with loop(end, begin) as b:
            work.split.fill(
                split_at(b),
                packs(b),
                vectors,
                lambda j, t: element.operand(pool, *place(b, left + j * LANES, t)),
            )

    def columns(left: Expr, live: Sequence[int], top: Expr, fetch: Fetch) -> None:
        records = [work.current(top + i) for i in range(tiles.height)]
        factors = [work.floats(work.factor(top + i)) for i in range(tiles.height)]
        outputs = _scaled(records, factors, begin == 0, left, len(live))
        with loop(end, begin) as b:
            first = split_at(b)

            def right(j: int, t: Expr) -> Expr:
                if tiles.splits:
                    return work.split.pair(first + t, j)
                return element.operand(pool, *place(b, left + j * LANES, t))

            work.product.accumulate(
                outputs,
                packs(b),
                work.tensors.operands,
                lambda i: (work.worker, work.probabilities(top + i) + b * size),
                right,
                fetch,
                are_split=tiles.splits,
                again=lambda j, t: vector.load_pairs_again(pool, *place(b, left + j * LANES, t)),
            )
        for i, record in enumerate(records):
            for j in range(len(live)):
                record.put(left + j * LANES, outputs[i, j])

    tiles.cover(work.columns, split, columns)


def _scaled(
    records: Sequence[PartialRow], factors: Sequence[Expr], where: Expr, left: Expr, vectors: int
) -> Tile:
    """The outputs of rows, times the factors of the tile at its first block."""
    outputs = tile(len(records), vectors)
    for i, (record, factor) in enumerate(zip(records, factors, strict=True)):
        chosen = let(T.Select(where, factor, splat(1.0)))
        for j in range(vectors):
            outputs[i, j] = record.get(left + j * LANES) * chosen
    return outputs
