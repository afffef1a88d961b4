"""The two products of a tile where full pages are integers, and the own page of the queries is not.

Keys become floats by scale * integer + minimum, shared by all rows. Scales of values multiply the
probabilities instead, once these are rounded, and minima times probabilities add to every column.
"""

from collections.abc import Callable, Sequence

from sala_compile.codegen.kernels.attend_blocks.cpu.block_products import BlockTile, choose_tiles
from sala_compile.codegen.kernels.attend_blocks.cpu.own_page import add_own, is_own, score_own
from sala_compile.codegen.kernels.attend_blocks.cpu.page_fetch import PageFetch, inside
from sala_compile.codegen.kernels.attend_blocks.cpu.query_rows import QueryRows
from sala_compile.codegen.kernels.attend_blocks.cpu.register_tiles import Fetch, RegisterTiles
from sala_compile.codegen.kernels.attend_blocks.cpu.running_softmax import score_scale
from sala_compile.codegen.kernels.attend_blocks.cpu.split_columns import SplitColumns
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensor,
    choose,
    lanes,
    let,
    loop,
    registers,
    splat,
    when,
)
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.tile import Tile, tile, zero_tile

INTEGERS = f"int32x{LANES}"


def score_keys(work: QueryRows, blocks: BlockTile, index: Expr, following: Expr) -> None:
    """Emit the scores of all rows for one block; what is at the address `following` is next."""
    page, first = let(blocks.pages[index]), let(blocks.firsts[index])
    choose(
        is_own(work, first),
        lambda: score_own(work, index, first),
        lambda: choose_tiles(
            work, lambda tiles: _score(work, index, page, first, tiles, following)
        ),
    )


def add_values(work: QueryRows, blocks: BlockTile, begin: Expr, end: Expr, following: Expr) -> None:
    """Emit output = factor * output + probabilities * values of some blocks, from the first on."""
    with when(begin == 0), loop(work.rows) as row:
        record, factor = work.current(row), let(work.floats(work.factor(row)))
        for column in range(0, work.columns, LANES):
            record.put(column, record.get(column) * factor)
    with loop(end, begin) as b:
        page, first = let(blocks.pages[b]), let(blocks.firsts[b])

        def rounded(page: Expr = page, first: Expr = first, b: Expr = b) -> None:
            _scale_probabilities(work, b, page, first)
            choose_tiles(work, lambda tiles: _add(work, b, page, first, tiles, following))

        choose(is_own(work, first), lambda: add_own(work, b, first), rounded)


def floats_of(words: Expr, part: int, bits: int) -> Expr:
    """The integers of one part of 16 words, as floats."""
    moved = T.shift_right(words, _all(part * bits)) if part else words
    return let(T.Cast(vector.FLOATS, moved & _all((1 << bits) - 1)))


def _all(value: int) -> Expr:
    return T.broadcast(T.int32(value), LANES)


def _score(
    work: QueryRows,
    index: Expr,
    page: Expr,
    first: Expr,
    tiles: RegisterTiles,
    following: Expr,
) -> None:
    spec, tensors = work.spec, work.tensors
    bits, count = spec.key_bits, spec.rounded.key_count
    size, start, words = spec.block_size, inside(work, first), spec.head_dim // count
    fetching = tiles.fetching(words, [PageFetch(following, size, spec.page_tokens)])
    scale = splat(score_scale(spec))

    def keys(pack: Expr, part: int, packed: Expr) -> Expr:
        at = (page, work.head, pack * count + part)
        factor, least = (
            spec.element.spread_value(t, *at) for t in (tensors.k_scale, tensors.k_minimum)
        )
        return vector.fma(floats_of(packed, part, bits), factor, least)

    def word(column: Expr, pack: Expr) -> Expr:
        return let(tensors.k_words[page, work.head, pack, lanes(start + column)])

    def columns(left: Expr, live: Sequence[int], top: Expr, fetch: Fetch) -> None:
        scores = zero_tile(tiles.height, len(live))
        rows = [(work.worker, work.query(top + i)) for i in range(tiles.height)]
        _accumulate(
            scores, words, count, tensors.operands, rows, _reader(split, left, word, keys), fetch
        )
        for i in range(tiles.height):
            target = work.scores(top + i) + index * size + left
            for j in range(len(live)):
                work.keep(target + j * LANES, scores[i, j] * scale)

    split = _columns(work, count) if tiles.several else None
    fetching.cover(size, _splitter(split, words, count, word, keys), columns)


def _scale_probabilities(work: QueryRows, b: Expr, page: Expr, first: Expr) -> None:
    """Emit the products of a block's probabilities with the scales of its values, and with minima.

    The sum of these is the same for all columns: it takes the place of the row's factor.
    """
    spec, tensors = work.spec, work.tensors
    columns = range(0, spec.block_size, LANES)
    with loop(work.rows) as row:
        shift = registers(1).fill(1)
        for column in columns:
            place = (page, work.head, inside(work, first) + column)
            scale, least = (
                let(spec.element.load(pool, *place))
                for pool in (tensors.v_scale, tensors.v_minimum)
            )
            at = lanes(work.probabilities(row) + b * spec.block_size + column)
            weight = let(tensors.operands[work.worker, at])
            shift[0] = vector.fma(weight, least, shift[0])
            tensors.operands[work.worker, at] = weight * scale
        work.keep(work.factor(row), splat(vector.total(shift[0])))


def _add(
    work: QueryRows, b: Expr, page: Expr, first: Expr, tiles: RegisterTiles, following: Expr
) -> None:
    spec, tensors = work.spec, work.tensors
    bits, count = spec.value_bits, spec.rounded.value_count
    words, start = spec.block_size // count, inside(work, first) // count
    fetching = tiles.fetching(words, [PageFetch(following, work.columns, work.columns)])

    def values(pack: Expr, part: int, packed: Expr) -> Expr:
        return floats_of(packed, part, bits)

    def word(column: Expr, pack: Expr) -> Expr:
        return let(tensors.v_words[page, work.head, start + pack, lanes(column)])

    def columns(left: Expr, live: Sequence[int], top: Expr, fetch: Fetch) -> None:
        records = [work.current(top + i) for i in range(tiles.height)]
        shifts = [work.floats(work.factor(top + i)) for i in range(tiles.height)]
        outputs = tile(tiles.height, len(live)).fill(
            lambda i, j: records[i].get(left + j * LANES) + shifts[i]
        )
        rows = [
            (work.worker, work.probabilities(top + i) + b * spec.block_size)
            for i in range(tiles.height)
        ]
        _accumulate(
            outputs, words, count, tensors.operands, rows, _reader(split, left, word, values), fetch
        )
        for i, record in enumerate(records):
            for j in range(len(live)):
                record.put(left + j * LANES, outputs[i, j])

    split = _columns(work, count) if tiles.several else None
    fetching.cover(work.columns, _splitter(split, words, count, word, values), columns)


Word = Callable[[Expr, Expr], Expr]
"""16 words from a column on: (column, word)."""
Unpack = Callable[[Expr, int, Expr], Expr]
"""The floats of a part of words: (word, part, the words)."""
Reader = Callable[[Expr, int], Callable[[int], Expr]]
"""The vectors of a word: (word, vector) -> part -> floats."""


def _columns(work: QueryRows, count: int) -> SplitColumns:
    return SplitColumns(work.tensors.split, work.worker, work.schedule.column_vectors, count)


def _splitter(
    split: SplitColumns | None, words: int, count: int, word: Word, unpack: Unpack
) -> Callable[[Expr, int], None]:
    def emit(left: Expr, vectors: int) -> None:
        if split is None:
            return
        with loop(words) as pack:
            for j in range(vectors):
                packed = word(left + j * LANES, pack)
                for part in range(count):
                    split.put(pack, part, j, unpack(pack, part, packed))

    return emit


def _reader(split: SplitColumns | None, left: Expr, word: Word, unpack: Unpack) -> Reader:
    def read(pack: Expr, j: int) -> Callable[[int], Expr]:
        if (columns := split) is not None:
            return lambda part: let(columns.get(pack, part, j))
        packed = word(left + j * LANES, pack)
        return lambda part: let(unpack(pack, part, packed))

    return read


def _accumulate(
    sums: Tile,
    words: int,
    count: int,
    operands: Tensor,
    rows: Sequence[tuple[Expr, Expr]],
    read: Reader,
    meanwhile: Fetch,
) -> None:
    """Emit `sums[i, j] += row i * column j` over all parts of all words, in ascending order."""
    with loop(words) as pack:
        columns = [read(pack, j) for j in range(sums.vectors)]
        if meanwhile is not None:
            meanwhile(pack)
        for part in range(count):
            floats = [column(part) for column in columns]
            for i, (worker, start) in enumerate(rows):
                row = let(splat(operands[worker, start + (pack * count + part)]))
                for j, column in enumerate(floats):
                    sums[i, j] = vector.fma(row, column, sums[i, j])
