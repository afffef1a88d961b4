"""The two products of a tile: queries by keys, probabilities by values."""

from collections.abc import Callable, Sequence

from sala_compile.codegen.kernels.attend_blocks.cpu.query_rows import MASKED
from sala_compile.codegen.kernels.attend_pools.cpu.pool_rows import PoolRows, PoolTile
from sala_compile.codegen.kernels.attend_pools.cpu.staged_columns import stage_keys, stage_values
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import LANES, Expr, held, let, loop, splat, when
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.tile import (
    Tile,
    cover_columns,
    cover_rows,
    even_width,
    tile,
    zero_tile,
)

Right = Callable[[int, Expr], Expr]
"""The packs of a column vector: (vector of the register tile, pack of the reduced dimension)."""


def score_keys(work: PoolRows, pools: PoolTile, scale: float) -> None:
    """Emit the scores of all rows for the tokens of a tile; those after the last one: MASKED."""
    spec, packs = work.spec, work.spec.head_dim // work.spec.element.pack
    most = even_width(work.width, work.schedule.vectors(spec))

    def columns(vector_index: Expr, live: Sequence[int]) -> None:
        left = let(vector_index * LANES)

        def rows(top: Expr, height: int) -> None:
            sums = zero_tile(height, len(live))
            work.product.accumulate(
                sums,
                packs,
                work.tensors.operands,
                lambda i: (work.worker, work.query(top + i)),
                right,
            )
            for i in range(height):
                target = work.scores(top + i) + left
                for j in range(len(live)):
                    readable = let(pools.readable - left - j * LANES)
                    value = vector.first_lanes(sums[i, j] * splat(scale), readable, splat(MASKED))
                    work.keep(target + j * LANES, value)

        with when(left < pools.readable):
            right = _keys(work, pools, left, len(live))
            cover_rows(spec.group, work.schedule.height(spec), rows)

    cover_columns(work.width, most, columns)


def _keys(work: PoolRows, pools: PoolTile, left: Expr, vectors: int) -> Right:
    """The keys of some vectors: of a page each, or brought together in memory of the worker."""
    spec, element, pool = work.spec, work.spec.element, work.tensors.k_pool
    if work.schedule.stages_keys(spec):
        stage_keys(work, pools, left, vectors)
        pitch = vectors * LANES

        def staged(j: int, d: Expr) -> Expr:
            place = (d * pitch + j * LANES) * element.pack
            return element.operand(work.tensors.staged, work.worker, place)

        return staged
    places: list[tuple[Expr, Expr]] = []
    for j in range(vectors):
        token = let(left + j * LANES)
        page, start = work.place(held(T.min(token // spec.pool, pools.live - 1)))
        places.append((page, held(start + token % spec.pool)))

    def direct(j: int, d: Expr) -> Expr:
        page, slot = places[j]
        return element.operand(pool, page, work.head, d, slot, 0)

    return direct


def add_values(work: PoolRows, pools: PoolTile) -> None:
    """Emit output = factor * output + probabilities * values of the tokens of a tile."""
    spec = work.spec
    most = even_width(work.columns, work.schedule.vectors(spec))
    staged = work.schedule.stages_values(spec)

    def columns(vector_index: Expr, live: Sequence[int]) -> None:
        left, vectors = let(vector_index * LANES), len(live)
        if staged:
            stage_values(work, pools, left, vectors)

        def rows(top: Expr, height: int) -> None:
            outputs = tile(height, vectors)
            for i in range(height):
                factor = let(work.floats(work.factor(top + i)))
                for j in range(vectors):
                    outputs[i, j] = work.current(top + i).get(left + j * LANES) * factor
            if staged:
                _add_staged(work, pools, outputs, top)
            else:
                _add_pages(work, pools, outputs, top, left)
            for i in range(height):
                for j in range(vectors):
                    work.current(top + i).put(left + j * LANES, outputs[i, j])

        cover_rows(spec.group, work.schedule.height(spec), rows)

    cover_columns(work.columns, most, columns)


def _add_pages(work: PoolRows, pools: PoolTile, outputs: Tile, top: Expr, left: Expr) -> None:
    spec, element = work.spec, work.spec.element
    pool, pack = work.tensors.v_pool, element.pack
    with loop(pools.live) as entry:
        page, start = work.place(entry)
        first = held(start // pack)
        tokens = T.min(pools.readable - entry * spec.pool, T.int32(spec.pool))
        work.product.accumulate(
            outputs,
            held((tokens + (pack - 1)) // pack),
            work.tensors.operands,
            lambda i: (work.worker, work.probabilities(top + i) + entry * spec.pool),
            lambda j, t: element.operand(pool, page, work.head, first + t, left + j * LANES, 0),
        )


def _add_staged(work: PoolRows, pools: PoolTile, outputs: Tile, top: Expr) -> None:
    element, pitch = work.spec.element, outputs.vectors * LANES

    def right(j: int, t: Expr) -> Expr:
        place = (t * pitch + j * LANES) * element.pack
        return element.operand(work.tensors.staged, work.worker, place)

    work.product.accumulate(
        outputs,
        held((pools.readable + (element.pack - 1)) // element.pack),
        work.tensors.operands,
        lambda i: (work.worker, work.probabilities(top + i)),
        right,
    )
