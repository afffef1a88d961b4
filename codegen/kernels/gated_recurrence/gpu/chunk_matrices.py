"""The Triton function that finds, for all chunks at once, what their tokens are to each other."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.gated_recurrence.gpu.constants import Constants
from sala_compile.codegen.kernels.gated_recurrence.gpu.token_values import (
    given_rows,
    head_decays,
    inverse_length,
)
from sala_compile.codegen.kernels.triton.tiles import segment_rows
from sala_compile.codegen.kernels.triton.values import squared


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
    chunks,
    C: Constants,
):
    """Of each chunk in `chunks`: the solution of its triangular system in a delta rule, its scores,
    and of its tokens the rates and the factors of queries and keys.

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
    scores = tl.zeros((C.CHUNK, C.CHUNK), tl.float32)
    products = tl.zeros((C.CHUNK, C.CHUNK), tl.float32)
    q_squares = tl.zeros((C.CHUNK,), tl.float32)
    k_squares = tl.zeros((C.CHUNK,), tl.float32)
    for first in range(0, C.KEY_DIM, C.PART):
        query = given_rows(q, row, live, C.Q_START + shared * C.KEY_DIM, C.Q_PITCH, first, C)
        keys = given_rows(k, row, live, C.K_START + shared * C.KEY_DIM, C.K_PITCH, first, C)
        scores = tl.dot(query, tl.trans(keys), scores, input_precision=C.PRECISION)
        if C.DELTA:
            products = tl.dot(keys, tl.trans(keys), products, input_precision=C.PRECISION)
            q_squares += tl.sum(squared(query), 1)
            k_squares += tl.sum(squared(keys), 1)
    of_query = inverse_length(q_squares, C.SCALE, C)
    of_key = inverse_length(k_squares, 1.0, C)
    # [token i, token j]: the decays of j + 1 to i, and the length of j.
    factors = tl.where(i[:, None] > i[None, :], own[:, None], 1.0)
    between = tl.where(i[:, None] >= i[None, :], tl.cumprod(factors, 0), 0.0)
    to_end = tl.sum(tl.where(i[:, None] == count - 1, between, 0.0), 0)
    between = between * of_key[None, :]
    since = tl.cumprod(own, 0)
    vectors = place + C.VECTORS + i
    tl.store(vectors, rates)
    tl.store(vectors + C.CHUNK, since * of_query)
    tl.store(vectors + 2 * C.CHUNK, since * of_key)
    tl.store(vectors + 3 * C.CHUNK, to_end * of_key)
    tl.store(vectors + 4 * C.CHUNK, since)
    cell = i[:, None] * C.CHUNK + i[None, :]
    tl.store(place + C.CHUNK * C.CHUNK + cell, scores * between * of_query[:, None])
    if C.DELTA:
        tl.store(place + cell, products * between * (-rates * of_key)[:, None])
        tl.debug_barrier()  # all of the system is there
        solve(place, count, C)


@triton.jit
def solve(place, count, C: Constants):
    """u = solution r of u = r + N u, in place of N [CHUNK, CHUNK], whose rows see earlier tokens.

    Row by row: what a row takes of the earlier ones is added to it.
    """
    i = tl.arange(0, C.CHUNK)
    solution = tl.where(i[:, None] == i[None, :], 1.0, 0.0)
    for r in range(1, count):
        known = tl.load(place + r * C.CHUNK + i, mask=i < r, other=0.0)
        more = tl.sum(known[:, None] * solution, 0)
        solution += tl.where(i[:, None] == r, tl.expand_dims(more, 0), 0.0)
    tl.debug_barrier()  # all have read the system
    tl.store(place + i[:, None] * C.CHUNK + i[None, :], solution)
