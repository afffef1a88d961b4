"""The Triton function that finds, for all chunks at once, what their tokens are to each other."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.gated_recurrence.gpu.constants import Constants
from sala_compile.codegen.kernels.gated_recurrence.gpu.token_values import (
    head_decays,
    keys_of,
    queries_of,
)
from sala_compile.codegen.kernels.triton.tiles import segment_rows


@triton.jit
def chunk_matrices(
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
    """`prepared` queries and keys, and of each chunk in `chunks`: the solution of its triangular
    system in a delta rule, its scores, the decays since its beginning and to its end, the rates.

    Programs (heads, chunks). The decay of token i since token j < i is the product of those of
    j + 1 to i, so that no exponent is a difference of long sums.
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
    i = tl.arange(0, C.CHUNK)
    live, row = i < count, (begin + i).to(tl.int64)
    place = chunks + (tl.program_id(1).to(tl.int64) * C.NUM_HEADS + head) * C.PLACE
    own, rates = head_decays(decay, rate, decay_rate, decay_bias, row, live, head, C)
    # [token i, token j]: the decays of j + 1 to i.
    factors = tl.where(i[:, None] > i[None, :], own[:, None], 1.0)
    between = tl.where(i[:, None] >= i[None, :], tl.cumprod(factors, 0), 0.0)
    tl.store(place + C.VECTORS + i, tl.cumprod(own, 0))
    to_end = tl.sum(tl.where(i[:, None] == count - 1, between, 0.0), 0)
    tl.store(place + C.VECTORS + C.CHUNK + i, to_end)
    tl.store(place + C.VECTORS + 2 * C.CHUNK + i, rates)
    query = queries_of(q, row, live, shared, C)
    keys = keys_of(k, row, live, shared, C)
    if head % (C.NUM_HEADS // C.KEY_HEADS) == 0:
        store_prepared(prepared, query, row, live, shared, 0, C)
        store_prepared(prepared, keys, row, live, shared, 1, C)
    cell = i[:, None] * C.CHUNK + i[None, :]
    scores = tl.dot(query, tl.trans(keys), input_precision=C.PRECISION)
    tl.store(place + C.CHUNK * C.CHUNK + cell, scores * between)
    if C.DELTA:
        products = tl.dot(keys, tl.trans(keys), input_precision=C.PRECISION)
        tl.store(place + cell, -rates[:, None] * products * between)
        tl.debug_barrier()  # all of the system is there
        solve(place, count, C)


@triton.jit
def solve(place, count, C: Constants):
    """u = solution r of u = r + N u, in place of N [CHUNK, CHUNK], whose rows see earlier tokens.

    Row by row: what a row lacks of the earlier ones' rows is added.
    """
    i = tl.arange(0, C.CHUNK)
    solution = tl.where(i[:, None] == i[None, :], 1.0, 0.0)
    for r in range(1, count):
        known = tl.load(place + r * C.CHUNK + i, mask=i < r, other=0.0)
        more = tl.sum(known[:, None] * solution, 0)
        solution += tl.where(i[:, None] == r, more[None, :], 0.0)
    tl.debug_barrier()  # all have read the system
    tl.store(place + i[:, None] * C.CHUNK + i[None, :], solution)


@triton.jit
def store_prepared(prepared, rows, row, live, head, PLANE: tl.constexpr, C: Constants):
    """Plane PLANE of a head's `prepared` rows [rows, LANES]."""
    lane = tl.arange(0, C.LANES)
    at = prepared_rows(prepared, row, head, PLANE, C)
    tl.store(at, rows, mask=live[:, None] & (lane < C.KEY_DIM)[None, :])


@triton.jit
def load_prepared(prepared, row, live, head, PLANE: tl.constexpr, C: Constants):
    """The same rows [rows, LANES]; 0 where not live and beyond the keys."""
    lane = tl.arange(0, C.LANES)
    at = prepared_rows(prepared, row, head, PLANE, C)
    return tl.load(at, mask=live[:, None] & (lane < C.KEY_DIM)[None, :], other=0.0)


@triton.jit
def prepared_rows(prepared, row, head, PLANE: tl.constexpr, C: Constants):
    """Where they are."""
    at = (row * C.PREPARED + head) * C.PLANES + PLANE
    return prepared + at[:, None] * C.KEY_DIM + tl.arange(0, C.LANES)[None, :]
