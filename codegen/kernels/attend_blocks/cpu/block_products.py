"""The two products of a block: queries by keys, probabilities by values."""

from collections.abc import Sequence

from sala_compile.codegen.kernels.attend_blocks.cpu.page_fetch import PageFetch
from sala_compile.codegen.kernels.attend_blocks.cpu.query_rows import MASKED, QueryRows
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import LANES, Expr, Tensor, let, loop, splat
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.page_access import page_of
from sala_compile.codegen.kernels.tir.tile import cover_columns, tile, zero_tile
from sala_compile.codegen.layouts.padding import padded


def score_keys(work: QueryRows, index: Expr, page: Expr, first: Expr) -> None:
    """Emit scale * q . k for all rows and one block; keys that a row may not read: MASKED.

    Meanwhile the block's values are fetched.
    """
    spec, element = work.spec, work.spec.element
    height, size = work.schedule.row_tile, padded(spec.block_size)

    packs, inside = spec.head_dim // element.pack, _inside(work, first)
    fetch = _fetch(work, work.tensors.v_pool, page, size, packs, inside // element.pack)

    def columns(vector_index: Expr, live: Sequence[int], top: Expr) -> None:
        left = let(vector_index * LANES)
        scores = zero_tile(height, len(live))
        work.product.accumulate(
            scores,
            packs,
            work.tensors.operands,
            lambda i: (work.worker, (top + i) * work.columns),
            lambda j, d: element.operand(
                work.tensors.k_pool, page, work.head, d, inside + left + j * LANES, 0
            ),
            fetch.during(_tile_index(work, top, left, size)),
        )
        for i in range(height):
            last = work.position + (top + i) // spec.group - first
            readable = let(T.min(last + 1, T.int32(spec.block_size)) - left)
            place = (top + i) * work.width + index * size + left
            for j in range(len(live)):
                score = scores[i, j] * splat(spec.scale)
                score = vector.first_lanes(score, readable - j * LANES, splat(MASKED))
                work.keep(place + j * LANES, score)

    with loop(_row_tiles(work)) as turn:
        top = let(turn * height)
        cover_columns(
            size, work.schedule.column_vectors, lambda first, live: columns(first, live, top)
        )


def add_values(work: QueryRows, blocks: Expr, entry: Expr, pages: Tensor, firsts: Tensor) -> None:
    """Emit output = factor * output + probabilities * values; only written values are read.

    Meanwhile the keys of the next tile, which begins at `entry`, are fetched.
    """
    spec, element = work.spec, work.spec.element
    height, size = work.schedule.row_tile, padded(spec.block_size)
    last = let(work.position + work.count - 1)

    def columns(vector_index: Expr, live: Sequence[int], top: Expr) -> None:
        left = let(vector_index * LANES)
        outputs = tile(height, len(live))
        for i in range(height):
            factor = let(work.floats(work.factors_at + (top + i) * LANES))
            place = work.outputs_at + (top + i) * work.columns + left
            for j in range(len(live)):
                outputs[i, j] = work.floats(place + j * LANES) * factor
        with loop(blocks) as b:
            page, inside = let(pages[b]), let(_inside(work, firsts[b]) // element.pack)
            following = let(work.block(entry + b))
            place = following // spec.page_blocks
            ahead = page_of(work.tensors.page_table, work.table_row, place)
            packs = -(-spec.block_size // element.pack)
            start = _inside(work, following * spec.block_size)
            fetch = _fetch(work, work.tensors.k_pool, ahead, work.columns, packs, start)
            tokens = T.min(last - firsts[b] + 1, T.int32(spec.block_size))
            base = let(work.probabilities_at + b * size)
            work.product.accumulate(
                outputs,
                let((tokens + (element.pack - 1)) // element.pack),
                work.tensors.operands,
                lambda i, base=base: (work.worker, base + (top + i) * work.width),
                lambda j, t: element.operand(
                    work.tensors.v_pool, page, work.head, inside + t, left + j * LANES, 0
                ),
                fetch.during(_tile_index(work, top, left, work.columns)),
            )
        for i in range(height):
            place = work.outputs_at + (top + i) * work.columns + left
            for j in range(len(live)):
                work.keep(place + j * LANES, outputs[i, j])

    with loop(_row_tiles(work)) as turn:
        top = let(turn * height)
        cover_columns(
            work.columns,
            work.schedule.column_vectors,
            lambda first, live: columns(first, live, top),
        )


def _row_tiles(work: QueryRows) -> Expr:
    height = work.schedule.row_tile
    return (work.rows + (height - 1)) // height


def _tile_index(work: QueryRows, top: Expr, left: Expr, columns: int) -> Expr:
    """The number of a register tile among those of a product with `columns` columns."""
    width = work.schedule.column_vectors * LANES
    return top // work.schedule.row_tile * -(-columns // width) + left // width


def _inside(work: QueryRows, first: Expr) -> Expr:
    """The token of its page at which a block begins whose first position is `first`."""
    return T.int32(0) if work.spec.page_blocks == 1 else first % work.spec.page_tokens


def _fetch(
    work: QueryRows, pool: Tensor, page: Expr, columns: int, packs: int, start: Expr
) -> PageFetch:
    """The fetch of a block during a product with `columns` columns and `packs` packs.

    The block begins at `start` in the extent of the pool that has the tokens.
    """
    schedule = work.schedule
    height = schedule.rows(work.spec) // schedule.row_tile
    tiles = height * -(-columns // (schedule.column_vectors * LANES))
    parts, by_columns = work.spec.page_blocks, pool is work.tensors.k_pool
    return PageFetch(
        pool, work.spec.element, page, work.head, tiles, packs, start, parts, by_columns
    )
