"""The running softmax of the rows: how it starts, what tiles and segments add."""

from sala_compile.codegen.kernels.attend_latents.cpu.query_rows import MASKED, LatentQueries, Record
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    lanes,
    let,
    loop,
    registers,
    splat,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.ir import T

BITS = f"uint32x{LANES}"


def clear(work: LatentQueries, record: Record) -> None:
    """Emit a record of no tokens, for the rows that are live."""
    with loop(work.count * (work.width // LANES)) as v:
        record.set_numbers(0, v * LANES, splat(MASKED))
        record.set_numbers(1, v * LANES, splat(0.0))
    with loop(work.count * work.width) as row, loop(record.columns // LANES) as c:
        record.set_output(row, c * LANES, splat(0.0))


def softmax(work: LatentQueries, tokens: Expr) -> None:
    """Emit running maxima and sums, factors of the outputs and probabilities of `tokens` tokens."""
    pack, record = work.spec.element.pack, work.current
    with loop(work.count * (work.width // LANES)) as v:
        row = let(v * LANES)
        cells = registers(2)
        cells[0] = record.numbers(0, row)
        with loop(tokens) as t:
            cells[0] = vector.maximum(cells[0], work.floats(work.score(t, row)))
        largest = let(cells[0])
        factor = let(vector.exp2(record.numbers(0, row) - largest))
        cells[1] = record.numbers(1, row) * factor
        with loop(tokens // pack) as k:
            found: list[Expr] = []
            for p in range(pack):
                score = work.floats(work.score(k * pack + p, row))
                found.append(let(vector.exp2(score - largest)))
                cells[1] = cells[1] + found[p]
            _keep(work, work.probability(k, row), found)
        record.set_numbers(0, row, largest)
        record.set_numbers(1, row, cells[1])
        work.keep(work.factors + row, factor)


def _keep(work: LatentQueries, place: Expr, found: list[Expr]) -> None:
    """Emit a pack of probabilities of 16 rows, rounded."""
    operands = work.tensors.operands
    if work.spec.element is Element.F32:
        operands[work.worker, lanes(place)] = found[0]
        return
    first, second = (T.Cast(BITS, vector.to_bf16(each)) for each in found)
    words = first | T.shift_left(second, T.broadcast(T.uint32(16), LANES))
    pairs = T.reinterpret(words, dtype=f"uint16x{2 * LANES}")
    operands[work.worker, lanes(place, 2 * LANES)] = pairs


def join(work: LatentQueries, joined: Record, part: Record) -> None:
    """Emit the addition of a segment to those before it."""
    with loop(work.count * (work.width // LANES)) as v:
        row = let(v * LANES)
        before, own = let(joined.numbers(0, row)), let(part.numbers(0, row))
        largest = let(vector.maximum(before, own))
        # Maxima and sums are replaced last: the rows below read the old ones.
        factors = [let(vector.exp2(each - largest)) for each in (before, own)]
        total = joined.numbers(1, row) * factors[0]
        total = let(vector.fma(part.numbers(1, row), factors[1], total))
        work.keep(work.factors + row, factors[0])
        work.keep(work.score(0, row), factors[1])
        joined.set_numbers(0, row, largest)
        joined.set_numbers(1, row, total)
    with loop(work.count * work.width) as row:
        scores, worker = work.tensors.scores, work.worker
        old = let(splat(scores[worker, work.factors + row]))
        new = let(splat(scores[worker, work.score(0, row)]))
        with loop(joined.columns // LANES) as c:
            column = let(c * LANES)
            value = joined.output(row, column) * old
            joined.set_output(row, column, vector.fma(part.output(row, column), new, value))


def copy(work: LatentQueries, record: Record, target: Record) -> None:
    """Emit a record in another place."""
    with loop(work.count * (work.width // LANES)) as v:
        for which in (0, 1):
            target.set_numbers(which, v * LANES, record.numbers(which, v * LANES))
    with loop(work.count * work.width) as row, loop(record.columns // LANES) as c:
        target.set_output(row, c * LANES, record.output(row, c * LANES))
