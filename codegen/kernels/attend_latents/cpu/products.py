"""The two products of a tile of tokens: queries by rows of the cache, probabilities by latents."""

from collections.abc import Sequence

from sala_compile.codegen.kernels.attend_latents.cpu.past_rows import TokenTile
from sala_compile.codegen.kernels.attend_latents.cpu.query_rows import MASKED, LatentQueries
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    held,
    lanes,
    let,
    loop,
    scratch,
    splat,
    when,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.tile import cover_columns, even_width, tile, zero_tile

BITS = f"uint32x{LANES}"


def scored(work: LatentQueries, tokens: TokenTile) -> Expr:
    """Tokens that have scores: whole register tiles, of which the last tokens are masked."""
    height = work.schedule.token_tile
    return (tokens.written + (height - 1)) // height * height


def score(work: LatentQueries, tokens: TokenTile, scale: float) -> None:
    """Emit the scores of all rows for the tokens of the tile; MASKED after a row's own token."""
    spec, height = work.spec, work.schedule.token_tile
    width = even_width(work.width, work.schedule.row_vectors)
    with loop(tokens.live) as b:
        rows_of, position = tokens.rows(b), held(tokens.position(b))
        left_over = held(tokens.written - b * spec.block_size)
        count = T.min(scored(work, tokens) - b * spec.block_size, T.int32(spec.block_size))
        with loop(count // height) as turn, loop(work.count) as query:
            first, rows = held(turn * height), held(query * work.width)
            own = held(work.position + query - position - first)
            places = [rows_of(_known(work, first + i, left_over)) for i in range(height)]

            def vectors(index: Expr, live: Sequence[int]) -> None:
                left = held(rows + index * LANES)
                sums = zero_tile(height, len(live))
                sums.accumulate(
                    spec.element,
                    spec.columns // spec.element.pack,
                    lambda i, k: spec.element.spread(
                        work.tensors.pool, *places[i], k * spec.element.pack
                    ),
                    lambda j, k: spec.element.operand(
                        work.tensors.operands, work.worker, work.query(k, left + j * LANES)
                    ),
                )
                for i in range(height):
                    token = let(b * spec.block_size + first + i)
                    readable = let(splat(T.int32(i)) <= splat(own))
                    for j in range(len(live)):
                        found = T.Select(readable, sums[i, j] * splat(scale), splat(MASKED))
                        work.keep(work.score(token, left + j * LANES), found)

            cover_columns(work.width, width, vectors)


def _known(work: LatentQueries, row: Expr, count: Expr) -> Expr:
    """A row of a block that may be read: places in lists are known for `count` rows alone."""
    return row if work.past is None else T.min(row, count - 1)


def add_values(work: LatentQueries, tokens: TokenTile) -> None:
    """Emit output = factor * output + probabilities * latents of the tile.

    Only written rows are read. The columns of packs of two are in the order in which they are
    staged: of 32 columns those of even places, then those of odd ones.
    """
    spec, schedule = work.spec, work.schedule
    written = held(tokens.written)
    if spec.element is Element.F32:
        most = even_width(spec.latent_dim, schedule.row_vectors)

        def columns(index: Expr, live: Sequence[int]) -> None:
            _add_rows(work, tokens, written, let(index * LANES), len(live))

        cover_columns(spec.latent_dim, most, columns)
        return
    with loop(schedule.out_columns(spec) // (2 * LANES)) as group:
        left = held(group * (2 * LANES))
        _stage(work, tokens, written, left)
        _add_rows(work, tokens, written, left, 2)


def _stage(work: LatentQueries, tokens: TokenTile, written: Expr, left: Expr) -> None:
    """Emit 32 columns of the tile as packs along the tokens; after the last written one zeros."""
    spec, pool, staged = work.spec, work.tensors.pool, work.tensors.staged
    size = spec.block_size
    with loop(tokens.live) as b:
        rows = tokens.rows(b)
        count = held(T.min(written - b * size, T.int32(size)))
        with loop((count + 1) // 2) as pair:
            one, other = (
                let(T.reinterpret(pool[(*rows(row), lanes(left, 2 * LANES))], dtype=BITS))
                for row in (2 * pair, T.min(2 * pair + 1, count - 1))
            )
            other = let(T.Select(splat(2 * pair + 1) < splat(count), other, _words(0)))
            sixteen, low = _words(16), _words(0xFFFF)
            even = (one & low) | T.shift_left(other, sixteen)
            odd = T.shift_right(one, sixteen) | (other & _words(0xFFFF0000))
            place = let((b * (size // 2) + pair) * 2)
            for half, words in enumerate((even, odd)):
                target = lanes((place + half) * (2 * LANES), 2 * LANES)
                staged[work.worker, target] = T.reinterpret(words, dtype=f"uint16x{2 * LANES}")


def _words(value: int) -> Expr:
    return T.broadcast(T.uint32(value), LANES)


def _add_rows(
    work: LatentQueries, tokens: TokenTile, written: Expr, left: Expr, vectors: int
) -> None:
    """Emit the product of all rows for some vectors of columns."""
    spec, height, record = work.spec, work.schedule.row_tile, work.current
    with loop(work.count) as query, loop(-(-spec.num_heads // height)) as turn:
        top = held(query * work.width + turn * height)
        outputs = tile(height, vectors)
        for i in range(height):
            factor = let(splat(work.tensors.scores[work.worker, work.factors + top + i]))
            for j in range(vectors):
                outputs[i, j] = record.output(top + i, left + j * LANES) * factor
        with loop(tokens.live) as b:
            count = held(T.min(written - b * spec.block_size, T.int32(spec.block_size)))
            first = held(b * (spec.block_size // spec.element.pack))
            rows = tokens.rows(b)

            def right(j: int, k: Expr) -> Expr:
                if spec.element is Element.F32:
                    return spec.element.operand(work.tensors.pool, *rows(k), left + j * LANES)
                place = ((first + k) * 2 + j) * (2 * LANES)
                return spec.element.operand(work.tensors.staged, work.worker, place)

            outputs.accumulate(
                spec.element,
                (count + spec.element.pack - 1) // spec.element.pack,
                lambda i, k: spec.element.spread(
                    work.tensors.operands, work.worker, work.probability(first + k, top + i)
                ),
                right,
            )
        for i in range(height):
            for j in range(vectors):
                record.set_output(top + i, left + j * LANES, outputs[i, j])


def finish(work: LatentQueries) -> None:
    """Emit the normalised outputs of all rows, rounded, and the padding of the tokens' rows."""
    spec, record, out = work.spec, work.joined, work.tensors.out
    with loop(work.count) as query, loop(spec.num_heads) as head:
        row = held(query * work.width + head)
        token = held(work.token + query)
        factor = let(splat(T.float32(1.0) / record.number(1, row)))
        step = LANES * spec.element.pack
        for left in range(0, spec.latent_dim, step):
            values = [
                record.output(row, left + j * LANES) * factor for j in range(spec.element.pack)
            ]
            _write(work, token, head * spec.latent_dim + left, values, spec.latent_dim - left)
        used = spec.num_heads * spec.latent_dim
        with when(head == spec.num_heads - 1):
            missing = int(out.buffer.shape[1]) - used
            if missing:
                spec.element.store(out, token, used, value=splat(0.0), count=missing)


def _write(work: LatentQueries, token: Expr, column: Expr, values: list[Expr], live: int) -> None:
    """Emit `live` columns, at most those of `values`: 16, or 32 in the order of staging."""
    out, element = work.tensors.out, work.spec.element
    if element is Element.F32:
        element.store(out, token, column, value=values[0], count=min(live, LANES))
        return
    even, odd = (T.Cast(BITS, vector.to_bf16(value)) for value in values)
    words = let(even | T.shift_left(odd, _words(16)))
    pairs = T.reinterpret(words, dtype=f"uint16x{2 * LANES}")
    if live >= 2 * LANES:
        out[token, lanes(column, 2 * LANES)] = pairs
        return
    row = scratch((2 * LANES,), element.dtype)
    row[lanes(0, 2 * LANES)] = pairs
    with loop(live) as index:
        out[token, column + index] = row[index]
