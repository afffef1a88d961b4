"""Keys and values of several pools side by side, in the layout of a page, for a register tile."""

from sala_compile.codegen.kernels.attend_pools.cpu.pool_rows import PoolRows, PoolTile
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    held,
    lanes,
    let,
    loop,
    scalar,
    splat,
    when,
)
from sala_compile.codegen.kernels.tir.ir import T

BITS = f"uint32x{LANES}"


def stage_keys(work: PoolRows, pools: PoolTile, left: Expr, vectors: int) -> None:
    """Emit copies of the keys of `vectors` x 16 tokens of a tile, run by run: [D/p, tokens, p].

    Tokens after the last one are left as they are.
    """
    spec, pack, pool = work.spec, work.spec.element.pack, work.tensors.k_pool
    run, pitch = work.schedule.run(spec), vectors * LANES
    with loop(pitch // run) as index:
        token = let(left + index * run)
        with when(token < pools.readable):
            page, start = work.place(held(token // spec.pool))
            slot, target = held(start + token % spec.pool), held(index * run * pack)
            size = run * pack
            with loop(spec.head_dim // pack) as d:
                place, to = (page, work.head, d, slot), d * (pitch * pack) + target
                if size == 1:
                    work.tensors.staged[work.worker, to] = pool[(*place, 0)]
                else:
                    kept = pool[(*place, lanes(0, size))]
                    work.tensors.staged[work.worker, lanes(to, size)] = kept


def stage_values(work: PoolRows, pools: PoolTile, left: Expr, vectors: int) -> None:
    """Emit the values of a tile, some columns, in pairs of neighbours of the list: [S/2, C, 2].

    The place after the last token is 0.
    """
    with loop((pools.readable + 1) // 2) as pair:
        token = let(pair * 2)
        follows = held(T.Cast("int32", token + 1 < pools.readable))
        first, second = (
            _HalfValues(work, token),
            _HalfValues(work, T.min(token + 1, pools.readable - 1)),
        )
        for j in range(vectors):
            column = let(left + j * LANES)
            low = first(column) & splat(T.uint32(0xFFFF))
            high = T.Select(follows != 0, second(column), splat(T.uint32(0)))
            bits = let(low | T.shift_left(high, splat(T.uint32(16))))
            to = (pair * (vectors * LANES) + j * LANES) * 2
            packed = T.reinterpret(bits, dtype=f"uint16x{2 * LANES}")
            work.tensors.staged[work.worker, lanes(to, 2 * LANES)] = packed


class _HalfValues:
    """16 values of one token in the lower halves of 32 bits, from a column on."""

    def __init__(self, work: PoolRows, token: Expr):
        pool = work.spec.pool
        self._work = work
        entry = held(token // pool)
        self._page, start = work.place(entry)
        self._slot = held(start + token % pool)
        self._shift = scalar(T.Cast("uint32", self._slot % 2 * 16), "uint32")

    def __call__(self, column: Expr) -> Expr:
        work = self._work
        place = (self._page, work.head, self._slot // 2, column, lanes(0, 2 * LANES))
        bits = T.reinterpret(work.tensors.v_pool[place], dtype=BITS)
        return let(T.shift_right(bits, splat(self._shift[0])))
