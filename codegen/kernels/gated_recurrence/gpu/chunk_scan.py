"""The Triton function that takes the chunks of a sequence one after the other."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.gated_recurrence.gpu.chunk_matrices import load_prepared
from sala_compile.codegen.kernels.gated_recurrence.gpu.constants import Constants
from sala_compile.codegen.kernels.gated_recurrence.gpu.token_values import values_of


@triton.jit
def scan_chunks(
    control,
    offsets,
    history,
    slots,
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
    lane = tl.arange(0, C.LANES)
    column = tl.program_id(0) * C.COLUMNS + tl.arange(0, C.COLUMNS)
    past = tl.load(history + sequence)
    pool = state_of(state, tl.load(slots + sequence), head, lane, column, C)
    inside = (lane < C.KEY_DIM)[:, None] & (column < C.VALUE_DIM)[None, :]
    known = (lane < tl.where(past > 0, C.KEY_DIM, 0))[:, None] & inside
    current = tl.load(pool, mask=known, other=0.0)
    number = (begin // C.CHUNK + 2 * sequence).to(tl.int64)
    place = chunks + (number * C.NUM_HEADS + head) * C.PLACE
    for first in range(-(past % C.CHUNK), length, C.CHUNK):
        start = tl.maximum(first, 0)
        count = tl.minimum(first + C.CHUNK, length) - start
        live, row = i < count, (begin + start + i).to(tl.int64)
        current = _chunk(current, place, prepared, v, skip, out, row, live, count, head, column, C)
        place += C.NUM_HEADS * C.PLACE
    tl.store(pool, current, mask=inside)


@triton.jit
def _chunk(
    current, place, prepared, v, skip, out, row, live, count, head, column, C: Constants
):  # fmt: skip
    """The state after a chunk, whose outputs are written."""
    i = tl.arange(0, C.CHUNK)
    vectors = place + C.VECTORS
    values = values_of(v, row, live, column, head, C)
    if C.CHANNEL_DECAY:
        lane = tl.arange(0, C.LANES)
        since, to_end = tl.full((C.CHUNK,), 1.0, tl.float32), tl.full((C.CHUNK,), 1.0, tl.float32)
        rates = tl.load(vectors + i, mask=live, other=0.0)
        whole = tl.load(vectors + C.CHUNK + lane, mask=lane < C.KEY_DIM, other=1.0)[:, None]
        ending = load_prepared(prepared, row, live, head, 2, C)
        owner = head
    else:
        owner = head // (C.NUM_HEADS // C.KEY_HEADS)
        since = tl.load(vectors + i, mask=live, other=0.0)
        to_end = tl.load(vectors + C.CHUNK + i, mask=live, other=0.0)
        rates = tl.load(vectors + 2 * C.CHUNK + i, mask=live, other=0.0)
        whole = tl.load(vectors + count - 1)
    keys = load_prepared(prepared, row, live, owner, 1, C)
    causal = (i[:, None] >= i[None, :]) & live[:, None]
    cell = i[:, None] * C.CHUNK + i[None, :]
    if C.DELTA:
        found = tl.dot(keys, current, input_precision=C.PRECISION)
        lacking = rates[:, None] * (values - since[:, None] * found)
        solution = tl.load(place + cell, mask=causal, other=0.0)
        updates = tl.dot(solution, lacking, input_precision=C.PRECISION)
    else:
        updates = rates[:, None] * values
    query = load_prepared(prepared, row, live, owner, 0, C)
    total = tl.dot(query, current, input_precision=C.PRECISION) * since[:, None]
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
        ending = keys * to_end[:, None]
    return tl.dot(tl.trans(ending), updates, current * whole, input_precision=C.PRECISION)


@triton.jit
def state_of(state, slot, head, lane, column, C: Constants):
    """Where a head's state [lanes, columns] is in row `slot` of the pool."""
    at = (slot.to(tl.int64) * C.NUM_HEADS + head) * (C.KEY_DIM * C.VALUE_DIM)
    return state + at + lane[:, None] * C.VALUE_DIM + column[None, :]


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
