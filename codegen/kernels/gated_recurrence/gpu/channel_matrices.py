"""The same where every row of a state has a decay of its own.

No product of decays is a quotient of two: queries and keys decay since the beginning of their block
of BLOCK tokens, keys to its end, so that nothing overflows and what is forgotten becomes 0.
"""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.gated_recurrence.gpu.chunk_matrices import solve
from sala_compile.codegen.kernels.gated_recurrence.gpu.constants import Constants
from sala_compile.codegen.kernels.gated_recurrence.gpu.token_values import (
    head_rates,
    keys_of,
    queries_of,
    row_decays,
)
from sala_compile.codegen.kernels.triton.tiles import segment_rows


@triton.jit
def channel_matrices(
    control,
    offsets,
    history,
    q,
    k,
    decay,
    rate,
    decay_rate,
    decay_bias,
    prepared,
    chunks,
    C: Constants,
):
    """Of each chunk in `chunks`: the solution of its triangular system, its scores, the rates and
    the decays of the whole chunk.

    Programs (heads, chunks). `prepared` has queries and keys after the decays since the beginning
    of the chunk, and keys after those to its end; before, queries, keys and decays.
    """
    sequences = tl.load(control + 1)
    if sequences == 0:
        return
    begin, end = segment_rows(offsets, history, sequences, tl.program_id(1), C.CHUNK)
    if begin == end:
        return
    head = tl.program_id(0)
    shared = head // (C.NUM_HEADS // C.KEY_HEADS)
    count = end - begin
    place = chunks + (tl.program_id(1).to(tl.int64) * C.NUM_HEADS + head) * C.PLACE
    r = tl.arange(0, C.BLOCK)
    for first in range(0, count, C.BLOCK):
        live, row = first + r < count, (begin + first + r).to(tl.int64)
        query = queries_of(q, row, live, shared, C)
        keys = keys_of(k, row, live, shared, C)
        own = row_decays(decay, decay_rate, decay_bias, row, live, head, C)
        store_prepared(prepared, query, row, live, head, 0, C)
        store_prepared(prepared, keys, row, live, head, 1, C)
        store_prepared(prepared, own, row, live, head, 2, C)
        rates = head_rates(rate, row, live, head, C)
        tl.store(place + C.VECTORS + first + r, rates)
    tl.debug_barrier()  # all rows are there
    for first in range(0, count, C.BLOCK):
        _own_block(prepared, place, begin, first, count, head, C)
        _earlier_blocks(prepared, place, begin, first, count, head, C)
    tl.debug_barrier()  # all of the system is there
    solve(place, count, C)
    _decay_rows(prepared, place, begin, count, head, C)


@triton.jit
def _decays(prepared, begin, first, count, head, C: Constants):
    """Decays of a block's rows [BLOCK, LANES], and of the rows after them; 1 beyond the block."""
    r = tl.arange(0, C.BLOCK)
    inside = (tl.arange(0, C.LANES) < C.KEY_DIM)[None, :]
    here = (first + r < count)[:, None] & inside
    at = prepared_rows(prepared, (begin + first + r).to(tl.int64), head, 2, C)
    own = tl.load(at, mask=here, other=1.0)
    after = (first + r + 1 < count)[:, None] & (r + 1 < C.BLOCK)[:, None] & inside
    return own, tl.load(at + C.NUM_HEADS * 3 * C.KEY_DIM, mask=after, other=1.0)


@triton.jit
def _last(rows, C: Constants):
    """The last row of a block [LANES]."""
    r = tl.arange(0, C.BLOCK)
    return tl.sum(tl.where(r[:, None] == C.BLOCK - 1, rows, 0.0), 0)


@triton.jit
def _own_block(prepared, place, begin, first, count, head, C: Constants):
    """Scores and system inside of a block: a column for each token, from the last to the first."""
    r = tl.arange(0, C.BLOCK)
    live, row = first + r < count, (begin + first + r).to(tl.int64)
    query = load_prepared(prepared, row, live, head, 0, C)
    keys = load_prepared(prepared, row, live, head, 1, C)
    rates = tl.load(place + C.VECTORS + first + r, mask=live, other=0.0)
    one = tl.arange(0, 1)
    stop = tl.minimum(count - first, C.BLOCK)
    # [token i]: the decays since the token of the turn, 0 before it.
    since = tl.zeros((C.BLOCK, C.LANES), tl.float32)
    scores = tl.zeros((C.BLOCK, C.BLOCK), tl.float32)
    system = tl.zeros((C.BLOCK, C.BLOCK), tl.float32)
    lane = tl.arange(0, C.LANES)
    for turn in range(0, stop):
        j = stop - 1 - turn
        line = (begin + first + j + one).to(tl.int64)
        key = load_prepared(prepared, line, one == 0, head, 1, C)
        next_at = prepared_rows(prepared, line + 1, head, 2, C)
        there = (one + turn > 0)[:, None] & (lane < C.KEY_DIM)[None, :]
        since = since * tl.load(next_at, mask=there, other=1.0)
        since = tl.where((r == j)[:, None], 1.0, since)
        faded = since * key
        here = (r == j)[None, :]
        scores += tl.where(here, tl.expand_dims(tl.sum(query * faded, 1), 1), 0.0)
        system += tl.where(here, tl.expand_dims(tl.sum(keys * faded, 1), 1), 0.0)
    _store_block(place, scores, -rates[:, None] * system, first, first, C)


@triton.jit
def _store_block(place, scores, system, first, left, C: Constants):
    """Blocks [BLOCK, BLOCK] of scores and system; both matrices are [CHUNK, CHUNK]."""
    r = tl.arange(0, C.BLOCK)
    cell = (first + r)[:, None] * C.CHUNK + (left + r)[None, :]
    tl.store(place + cell, system)
    tl.store(place + C.CHUNK * C.CHUNK + cell, scores)


@triton.jit
def _earlier_blocks(prepared, place, begin, first, count, head, C: Constants):
    """Scores and system between a block and those before it, from the nearest on."""
    r = tl.arange(0, C.BLOCK)
    live, row = first + r < count, (begin + first + r).to(tl.int64)
    own, _ = _decays(prepared, begin, first, count, head, C)
    since = tl.cumprod(own, 0)
    query = load_prepared(prepared, row, live, head, 0, C) * since
    keys = load_prepared(prepared, row, live, head, 1, C) * since
    rates = tl.load(place + C.VECTORS + first + r, mask=live, other=0.0)
    between = tl.full((C.LANES,), 1.0, tl.float32)
    for turn in range(0, first, C.BLOCK):
        left = first - C.BLOCK - turn
        other, after = _decays(prepared, begin, left, count, head, C)
        every = left + r < count
        faded = load_prepared(prepared, (begin + left + r).to(tl.int64), every, head, 1, C)
        faded = faded * tl.cumprod(after, 0, reverse=True) * between[None, :]
        scores = tl.dot(query, tl.trans(faded), input_precision=C.PRECISION)
        system = tl.dot(keys, tl.trans(faded), input_precision=C.PRECISION)
        _store_block(place, scores, -rates[:, None] * system, first, left, C)
        between = between * _last(tl.cumprod(other, 0), C)


@triton.jit
def _decay_rows(prepared, place, begin, count, head, C: Constants):
    """Queries and keys after the decays since the beginning of the chunk, keys to its end."""
    r = tl.arange(0, C.BLOCK)
    lane = tl.arange(0, C.LANES)
    before = tl.full((C.LANES,), 1.0, tl.float32)
    for first in range(0, count, C.BLOCK):
        live, row = first + r < count, (begin + first + r).to(tl.int64)
        own, after = _decays(prepared, begin, first, count, head, C)
        later = tl.full((C.LANES,), 1.0, tl.float32)
        for other in range(first + C.BLOCK, count, C.BLOCK):
            decays, _ = _decays(prepared, begin, other, count, head, C)
            later = later * _last(tl.cumprod(decays, 0), C)
        within = tl.cumprod(own, 0)
        since = within * before[None, :]
        before = before * _last(within, C)
        query = load_prepared(prepared, row, live, head, 0, C) * since
        keys = load_prepared(prepared, row, live, head, 1, C)
        ending = keys * tl.cumprod(after, 0, reverse=True) * later[None, :]
        tl.debug_barrier()  # all have read the rows of the block
        store_prepared(prepared, query, row, live, head, 0, C)
        store_prepared(prepared, keys * since, row, live, head, 1, C)
        store_prepared(prepared, ending, row, live, head, 2, C)
    tl.store(place + C.VECTORS + C.CHUNK + lane, before, mask=lane < C.KEY_DIM)


@triton.jit
def store_prepared(prepared, rows, row, live, head, PLANE, C: Constants):
    """Plane PLANE of a head's `prepared` rows [rows, LANES]."""
    lane = tl.arange(0, C.LANES)
    at = prepared_rows(prepared, row, head, PLANE, C)
    tl.store(at, rows, mask=live[:, None] & (lane < C.KEY_DIM)[None, :])


@triton.jit
def load_prepared(prepared, row, live, head, PLANE, C: Constants):
    """The same rows [rows, LANES]; 0 where not live and beyond the keys."""
    lane = tl.arange(0, C.LANES)
    at = prepared_rows(prepared, row, head, PLANE, C)
    return tl.load(at, mask=live[:, None] & (lane < C.KEY_DIM)[None, :], other=0.0)


@triton.jit
def prepared_rows(prepared, row, head, PLANE, C: Constants):
    """Where they are."""
    at = (row * C.NUM_HEADS + head) * 3 + PLANE
    return prepared + at[:, None] * C.KEY_DIM + tl.arange(0, C.LANES)[None, :]
