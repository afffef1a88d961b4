"""The own page of queries where full pages are rounded: token by token, as it was computed."""

from collections.abc import Callable

from sala_compile.codegen.kernels.attend_blocks.cpu.query_rows import MASKED, QueryRows
from sala_compile.codegen.kernels.attend_blocks.cpu.running_softmax import score_scale
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensor,
    choose,
    held,
    let,
    loop,
    registers,
    splat,
)
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.recent_rows import Load, RecentRows


def is_own(work: QueryRows, first: Expr) -> Expr:
    """Whether the block that begins at position `first` is in the page of the queries."""
    page = work.spec.page_tokens
    return first // page == work.position // page


def score_own(work: QueryRows, index: Expr, first: Expr) -> None:
    """Emit the scores of all rows for a block of their page; after each row's token: MASKED."""
    spec, tensors = work.spec, work.tensors
    with loop(work.rows) as row:
        for column in range(0, spec.block_size, LANES):
            work.keep(work.scores(row) + index * spec.block_size + column, splat(MASKED))

    def score(token: Expr, load: Load) -> None:
        key = _loaded(work, load)
        with loop(work.rows) as row:
            total = registers(1).fill(1)
            for column in range(0, spec.head_dim, LANES):
                query = work.operands(work.query(row) + column)
                total[0] = vector.fma(query, key[column // LANES], total[0])
            found = vector.total(total[0]) * T.float32(score_scale(spec))
            place = work.scores(row) + index * spec.block_size + (token - first)

            def keep(found: Expr = found, place: Expr = place) -> None:
                tensors.scores[work.worker, place] = found

            choose(token <= work.position + row // spec.group, keep, lambda: None)

    _each(work, first, tensors.recent_k, tensors.k, spec.k_start, score)


def add_own(work: QueryRows, b: Expr, first: Expr) -> None:
    """Emit output + probabilities * values of a block of the page of the queries."""
    spec, tensors = work.spec, work.tensors

    def add(token: Expr, load: Load) -> None:
        value = _loaded(work, load)
        with loop(work.rows) as row:
            record = work.current(row)
            place = work.probabilities(row) + b * spec.block_size + (token - first)
            weight = let(splat(tensors.operands[work.worker, place]))
            for column in range(0, spec.head_dim, LANES):
                output = vector.fma(weight, value[column // LANES], record.get(column))
                record.put(column, output)

    _each(work, first, tensors.recent_v, tensors.v, spec.v_start, add)


def _each(
    work: QueryRows,
    first: Expr,
    recent: Tensor,
    new: Tensor,
    column: int,
    body: Callable[[Expr, Load], None],
) -> None:
    """Emit `body` for every token of a block that was written."""
    spec, tensors = work.spec, work.tensors
    rows = RecentRows(
        spec.element,
        spec.head_dim,
        spec.recent,
        recent,
        new,
        slot=work.table_row,
        head=work.head,
        column=column,
        start=held(tensors.offsets[work.sequence]),
        history=held(tensors.history[work.sequence]),
    )
    end = held(T.min(work.position + work.count, first + spec.block_size))
    rows.each(first, end, body)


def _loaded(work: QueryRows, load: Load) -> list[Expr]:
    return [let(load(column, LANES)) for column in range(0, work.spec.head_dim, LANES)]
