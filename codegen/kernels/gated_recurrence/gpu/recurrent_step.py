"""The Triton function that takes tokens of a sequence one after the other."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.gated_recurrence.gpu.chunk_scan import clear_padding
from sala_compile.codegen.kernels.gated_recurrence.gpu.constants import Constants
from sala_compile.codegen.kernels.gated_recurrence.gpu.token_values import (
    head_decays,
    head_rates,
    keys_of,
    queries_of,
    row_decays,
    values_of,
)


@triton.jit
def step(
    control,
    offsets,
    history,
    slots,
    checkpoints,
    q,
    k,
    v,
    decay,
    rate,
    state,
    decay_rate,
    decay_bias,
    skip,
    out,
    C: Constants,
):
    """The recurrence for the new tokens of a sequence, each as if it came alone.

    Programs (parts of columns, heads, sequences). The state is read and written once, and 0 if
    there is no history. From row `checkpoints` of the pool on, unless that is negative, the states
    after all tokens but the last are written as well.
    """
    sequence = tl.program_id(2)
    if sequence >= tl.load(control + 1):
        return
    begin = tl.load(offsets + sequence)
    end = tl.load(offsets + sequence + 1)
    if begin == end:
        return
    head = tl.program_id(1)
    shared = head // (C.NUM_HEADS // C.KEY_HEADS)
    one = tl.arange(0, 1)
    live = one == 0
    lane = tl.arange(0, C.LANES)
    column = tl.program_id(0) * C.COLUMNS + tl.arange(0, C.COLUMNS)
    pool = state_of(state, tl.load(slots + sequence), head, lane, column, C)
    inside = (lane < C.KEY_DIM)[:, None] & (column < C.VALUE_DIM)[None, :]
    known = tl.where(tl.load(history + sequence) > 0, C.KEY_DIM, 0)
    current = tl.load(pool, mask=(lane < known)[:, None] & inside, other=0.0)
    checkpoint = tl.load(checkpoints + sequence)
    for number in range(begin, end):
        row = (number + one).to(tl.int64)
        if C.CHANNEL_DECAY:
            own = tl.trans(row_decays(decay, decay_rate, decay_bias, row, live, head, C))
            rates = head_rates(rate, row, live, head, C)
        else:
            own, rates = head_decays(decay, rate, decay_rate, decay_bias, row, live, head, C)
            own = own[:, None]
        query = tl.trans(queries_of(q, row, live, shared, C))
        key = tl.trans(keys_of(k, row, live, shared, C))
        values = values_of(v, row, live, column, head, C)
        current = current * own
        lacking = values
        if C.DELTA:
            lacking = values - tl.expand_dims(tl.sum(key * current, 0), 0)
        current += key * (rates[:, None] * lacking)
        total = tl.expand_dims(tl.sum(query * current, 0), 0)
        if C.SKIP:
            total += tl.load(skip + head) * values
        feature = head * C.VALUE_DIM + column
        to = out + row[:, None] * C.OUT_PITCH + feature[None, :]
        cells = (column < C.VALUE_DIM)[None, :]
        tl.store(to, total.to(out.dtype.element_ty), mask=cells)
        clear_padding(out, row, live, head, C)
        if (checkpoint >= 0) & (number < end - 1):
            kept = state_of(state, checkpoint + number - begin, head, lane, column, C)
            tl.store(kept, current, mask=inside)
    tl.store(pool, current, mask=inside)


@triton.jit
def state_of(state, slot, head, lane, column, C: Constants):
    """Where a head's state [lanes, columns] is in row `slot` of the pool."""
    at = (slot.to(tl.int64) * C.NUM_HEADS + head) * (C.KEY_DIM * C.VALUE_DIM)
    return state + at + lane[:, None] * C.VALUE_DIM + column[None, :]
