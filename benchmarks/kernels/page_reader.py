"""The bound of decode: the pages read in the same order, with as many instructions for a line."""

from typing import Any

from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensor,
    address_of,
    held,
    kernel,
    lanes,
    let,
    long,
    loop,
    prefetch_at,
    registers,
)
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.targets.cpu import CpuTarget

SUMS = 16
"""Accumulators: as many as hide the latency of multiply-adds."""
STREAMS = 4
"""Places of a page that are read at once."""


def page_reader(symbol: str, target: CpuTarget, floats: int, adds: int) -> Any:
    """Build (control, table, k, v, result): read the pages of the table, their keys, then values.

    A page has `floats` floats of each. `adds` multiply-adds follow every line that was read; the
    line at the same place of what is next is fetched meanwhile.
    """
    with kernel(symbol, target) as builder:
        control = builder.control()
        table = builder.tensor("table", ("listed",), "int32")
        k, v = (builder.tensor(name, ("pages", floats), "float32") for name in "kv")
        result = builder.tensor("result", ("results",), "float32")
        listed = T.Cast("int32", builder.capacity("listed"))

        def work(team: Team) -> None:
            sums = registers(SUMS).fill(SUMS)

            def page(index: Expr) -> None:
                here = held(long(table[index]), "int64")
                following = held(long(table[T.min(index + 1, listed - 1)]), "int64")
                _read(k, here, let(address_of(v, here, 0)))
                _read(v, here, let(address_of(k, following, 0)))

            def _read(pool: Tensor, here: Expr, ahead: Expr) -> None:
                with loop(floats // LANES // STREAMS) as step:
                    for stream in range(STREAMS):
                        line = let(step + stream * (floats // LANES // STREAMS))
                        prefetch_at(ahead + long(line) * (4 * LANES), far=True)
                        values = let(pool[here, lanes(line * LANES)])
                        for each in range(adds):
                            cell = (stream * adds + each) % SUMS
                            sums[cell] = vector.fma(values, values, sums[cell])

            team.static(listed, page)
            whole = sums[0]
            for cell in range(1, SUMS):
                whole = whole + sums[cell]
            result[team.worker * LANES] = vector.total(whole)

        workers(builder, control, work)
    return builder.function
