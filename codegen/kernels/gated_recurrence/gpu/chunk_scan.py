"""The Triton function that takes the chunks of a sequence one after the other."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.gated_recurrence.gpu.constants import Constants
from sala_compile.codegen.kernels.gated_recurrence.gpu.token_values import given_rows, values_of


@triton.jit
def scan_chunks(
    control,
    offsets,
    history,
    slots,
    q,
    k,
    v,
    state,
    skip,
    out,
    prepared,
    chunks,
    C: Constants,
):
    """The outputs of a sequence and its state, from what is known of its chunks.

    Programs (parts of COLUMNS columns, heads, sequences); columns are independent of each other.
    The state stays in the pool, of which PART rows at a time are read and written.
    """
    sequence = tl.program_id(2)
    if sequence >= tl.load(control + 1):
        return
    begin = tl.load(offsets + sequence)
    length = tl.load(offsets + sequence + 1) - begin
    if length == 0:
        return
    head = tl.program_id(1)
    i = tl.arange(0, C.CHUNK)
    column = tl.program_id(0) * C.COLUMNS + tl.arange(0, C.COLUMNS)
    past = tl.load(history + sequence)
    at = (tl.load(slots + sequence).to(tl.int64) * C.NUM_HEADS + head) * (C.KEY_DIM * C.VALUE_DIM)
    pool = state + at + column[None, :]
    if past == 0:
        _clear(pool, column, C)
    number = (begin // C.CHUNK + 2 * sequence).to(tl.int64)
    place = chunks + (number * C.NUM_HEADS + head) * C.PLACE
    for first in range(-(past % C.CHUNK), length, C.CHUNK):
        start = tl.maximum(first, 0)
        count = tl.minimum(first + C.CHUNK, length) - start
        live, row = i < count, (begin + start + i).to(tl.int64)
        _chunk(pool, place, prepared, q, k, v, skip, out, row, live, count, head, column, C)
        place += C.NUM_HEADS * C.PLACE


@triton.jit
def _clear(pool, column, C: Constants):
    """A state of 0."""
    r = tl.arange(0, C.PART)
    zeros = tl.zeros((C.PART, C.COLUMNS), tl.float32)
    for first in range(0, C.KEY_DIM, C.PART):
        inside = (first + r < C.KEY_DIM)[:, None] & (column < C.VALUE_DIM)[None, :]
        tl.store(pool + (first + r)[:, None] * C.VALUE_DIM, zeros, mask=inside)
    tl.debug_barrier()  # all of it is there


@triton.jit
def _chunk(pool, place, prepared, q, k, v, skip, out, row, live, count, head, column, C: Constants):
    """The outputs of a chunk, and the state after it."""
    i = tl.arange(0, C.CHUNK)
    r = tl.arange(0, C.PART)
    rates = tl.load(place + C.VECTORS + i, mask=live, other=0.0)
    found = tl.zeros((C.CHUNK, C.COLUMNS), tl.float32)
    total = tl.zeros((C.CHUNK, C.COLUMNS), tl.float32)
    for first in range(0, C.KEY_DIM, C.PART):
        inside = (first + r < C.KEY_DIM)[:, None] & (column < C.VALUE_DIM)[None, :]
        at = pool + (first + r)[:, None] * C.VALUE_DIM
        current = tl.load(at, mask=inside, other=0.0)
        query = chunk_rows(prepared, q, C.Q_START, C.Q_PITCH, 0, row, live, head, first, C)  # type: ignore
        total = tl.dot(query, current, total, input_precision=C.PRECISION)
        if C.DELTA:
            keys = chunk_rows(prepared, k, C.K_START, C.K_PITCH, 1, row, live, head, first, C)  # type: ignore
            found = tl.dot(keys, current, found, input_precision=C.PRECISION)
    values = values_of(v, row, live, column, head, C)
    vectors = place + C.VECTORS + i
    if not C.CHANNEL_DECAY:
        total = total * tl.load(vectors + C.CHUNK, mask=live, other=0.0)[:, None]
        found = found * tl.load(vectors + 2 * C.CHUNK, mask=live, other=0.0)[:, None]
    causal = (i[:, None] >= i[None, :]) & live[:, None]
    cell = i[:, None] * C.CHUNK + i[None, :]
    updates = rates[:, None] * (values - found)
    if C.DELTA:
        solution = tl.load(place + cell, mask=causal, other=0.0)
        updates = tl.dot(solution, updates, input_precision=C.PRECISION)
    scores = tl.load(place + C.CHUNK * C.CHUNK + cell, mask=causal, other=0.0)
    total = tl.dot(scores, updates, total, input_precision=C.PRECISION)
    if C.SKIP:
        total += tl.load(skip + head) * values
    feature = head * C.VALUE_DIM + column
    to = out + row[:, None] * C.OUT_PITCH + feature[None, :]
    cells = live[:, None] & (column < C.VALUE_DIM)[None, :]
    tl.store(to, total.to(out.dtype.element_ty), mask=cells)
    clear_padding(out, row, live, head, C)
    if not C.CHANNEL_DECAY:
        updates = updates * tl.load(vectors + 3 * C.CHUNK, mask=live, other=0.0)[:, None]
    tl.debug_barrier()  # all have read the state
    for first in range(0, C.KEY_DIM, C.PART):
        inside = (first + r < C.KEY_DIM)[:, None] & (column < C.VALUE_DIM)[None, :]
        at = pool + (first + r)[:, None] * C.VALUE_DIM
        current = tl.load(at, mask=inside, other=0.0)
        if C.CHANNEL_DECAY:
            whole = place + C.VECTORS + C.CHUNK + first + r
            current = current * tl.load(whole, mask=first + r < C.KEY_DIM, other=0.0)[:, None]
        else:
            current = current * tl.load(place + C.VECTORS + 4 * C.CHUNK + count - 1)
        keys = chunk_rows(prepared, k, C.K_START, C.K_PITCH, 2, row, live, head, first, C)  # type: ignore
        current = tl.dot(tl.trans(keys), updates, current, input_precision=C.PRECISION)
        tl.store(at, current, mask=inside)
    tl.debug_barrier()  # all of the state is there


@triton.jit
def chunk_rows(
    prepared,
    x,
    START: tl.constexpr,
    PITCH: tl.constexpr,
    PLANE: tl.constexpr,
    row,
    live,
    head,
    first,
    C: Constants,
):
    """Rows [rows, PART] of queries or keys from column `first` on: as given, or plane PLANE of what
    is prepared where decays are vectors."""
    if C.CHANNEL_DECAY:
        start = (head * 3 + PLANE) * C.KEY_DIM
        found = given_rows(prepared, row, live, start, C.NUM_HEADS * 3 * C.KEY_DIM, first, C)
    else:
        shared = head // (C.NUM_HEADS // C.KEY_HEADS)
        found = given_rows(x, row, live, START + shared * C.KEY_DIM, PITCH, first, C)
    return found


@triton.jit
def clear_padding(out, row, live, head, C: Constants):
    """Zeros after the columns of all heads, by the program of the last columns."""
    USED: tl.constexpr = C.NUM_HEADS * C.VALUE_DIM
    LAST: tl.constexpr = (C.VALUE_DIM - 1) // C.COLUMNS
    if USED < C.OUT_PITCH:
        padding = USED + tl.arange(0, 16)
        is_last = (head == C.NUM_HEADS - 1) & (tl.program_id(0) == LAST)
        beyond = padding < tl.where(is_last, C.OUT_PITCH, 0)
        to = out + row[:, None] * C.OUT_PITCH + padding[None, :]
        zeros = tl.zeros((row.shape[0], 16), out.dtype.element_ty)
        tl.store(to, zeros, mask=live[:, None] & beyond[None, :])
