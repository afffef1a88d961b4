"""The Triton functions of lightning attention over segments of sequences, after `prepare_heads`."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.lightning_attention.gpu.constants import Constants
from sala_compile.codegen.kernels.triton.tiles import segment_rows
from sala_compile.codegen.kernels.triton.values import entry


@triton.jit
def end_states(control, offsets, history, prepared, v, segments, C: Constants):
    """segments[s, h] = the state after segment s that begins with a state of 0.

    Programs (parts of COLUMNS columns, heads, segments), so that the parts of a head read its keys
    at the same time; BLOCK holds a head.
    """
    sequences = tl.load(control + 1)
    if sequences == 0:
        return
    begin, end = segment_rows(offsets, history, sequences, tl.program_id(2), C.SEGMENT)
    if begin == end:
        return
    head = tl.program_id(1)
    shared = head // (C.HEADS // C.KV_HEADS)
    rate = entry(head, C.RATES, C.HEADS)
    i = tl.arange(0, C.CHUNK)
    lane = tl.arange(0, C.BLOCK)
    column = tl.program_id(0) * C.COLUMNS + tl.arange(0, C.COLUMNS)
    state = tl.zeros((C.BLOCK, C.COLUMNS), tl.float32)
    for first in range(begin, end, C.CHUNK):
        count = tl.minimum(end - first, C.CHUNK)
        line, live = (begin * 0 + first).to(tl.int64), i < count
        keys = load_prepared(prepared, line, i, live, lane, C.HEADS + shared, 0, C.HEAD, C)  # type: ignore
        value = load_values(v, line, i, live, column, shared, C)
        state = advance(state, keys, value, i, count, rate, C.PRECISION)
    place = (tl.program_id(2).to(tl.int64) * C.HEADS + head) * (C.HEAD * C.HEAD)
    at = segments + place + lane[:, None] * C.HEAD + column[None, :]
    tl.store(at, state, mask=(lane < C.HEAD)[:, None] & (column < C.HEAD)[None, :])


@triton.jit
def start_states(control, offsets, history, slots, state, segments, C: Constants):
    """segments[s, h] = the state before segment s, in place; the state after the last to `state`.

    Programs (sequences, heads, parts of PART of the SIZE values of a state). A sequence without
    history begins with 0.
    """
    sequence = tl.program_id(0)
    if sequence >= tl.load(control + 1):
        return
    head = tl.program_id(1)
    begin = tl.load(offsets + sequence)
    end = tl.load(offsets + sequence + 1)
    rate = entry(head, C.RATES, C.HEADS)
    cell = tl.program_id(2) * C.PART + tl.arange(0, C.PART)
    pool = state + (tl.load(slots + sequence).to(tl.int64) * C.HEADS + head) * C.SIZE + cell
    known = tl.where(tl.load(history + sequence) > 0, C.SIZE, 0)
    current = tl.load(pool, mask=cell < known, other=0.0)
    before = tl.load(history + sequence) % C.SEGMENT
    length = tl.where(end > begin, end - begin, -before)
    index = (begin // C.SEGMENT + 2 * sequence).to(tl.int64)
    at = segments + (index * C.HEADS + head) * C.SIZE + cell
    for first in range(-before, length, C.SEGMENT):
        added = tl.load(at, mask=cell < C.SIZE, other=0.0)
        tl.store(at, current, mask=cell < C.SIZE)
        count = tl.minimum(first + C.SEGMENT, length) - tl.maximum(first, 0)
        current = current * tl.exp2(count.to(tl.float32) * rate) + added
        at += C.HEADS * C.SIZE
    tl.store(pool, current, mask=cell < C.SIZE)


@triton.jit
def outputs(control, offsets, history, prepared, v, segments, out, C: Constants):
    """The outputs of a segment from the state before it; programs as in `end_states`.

    A head goes in two halves, each held by BLOCK, so that a query and a key leave their registers
    before the next ones come.
    """
    sequences = tl.load(control + 1)
    if sequences == 0:
        return
    begin, end = segment_rows(offsets, history, sequences, tl.program_id(2), C.SEGMENT)
    if begin == end:
        return
    HALF: tl.constexpr = C.HEAD // 2
    head = tl.program_id(1)
    shared = head // (C.HEADS // C.KV_HEADS)
    rate = entry(head, C.RATES, C.HEADS)
    i = tl.arange(0, C.CHUNK)
    column = tl.program_id(0) * C.COLUMNS + tl.arange(0, C.COLUMNS)
    lane = tl.arange(0, C.BLOCK)
    place = (tl.program_id(2).to(tl.int64) * C.HEADS + head) * (C.HEAD * C.HEAD)
    at = segments + place + lane[:, None] * C.HEAD + column[None, :]
    inside = (lane < HALF)[:, None] & (column < C.HEAD)[None, :]
    low = tl.load(at, mask=inside, other=0.0)
    high = tl.load(at + HALF * C.HEAD, mask=inside, other=0.0)
    distance = i[:, None] - i[None, :]
    # [query i, key j]: decay^(i - j), causal.
    between = tl.where(distance >= 0, tl.exp2(distance.to(tl.float32) * rate), 0.0)
    since_start = tl.exp2((i + 1).to(tl.float32) * rate)[:, None]
    for first in range(begin, end, C.CHUNK):
        count = tl.minimum(end - first, C.CHUNK)
        line, live = (begin * 0 + first).to(tl.int64), i < count
        value = load_values(v, line, i, live, column, shared, C)
        query = load_prepared(prepared, line, i, live, lane, head, 0, HALF, C)  # type: ignore
        keys = load_prepared(prepared, line, i, live, lane, C.HEADS + shared, 0, HALF, C)  # type: ignore
        total = tl.dot(query, low, input_precision=C.PRECISION)
        inner = tl.dot(query, tl.trans(keys), input_precision=C.PRECISION)
        low = advance(low, keys, value, i, count, rate, C.PRECISION)
        query = load_prepared(prepared, line, i, live, lane, head, HALF, HALF, C)
        keys = load_prepared(prepared, line, i, live, lane, C.HEADS + shared, HALF, HALF, C)
        total = tl.dot(query, high, total, input_precision=C.PRECISION) * since_start
        inner = tl.dot(query, tl.trans(keys), inner, input_precision=C.PRECISION) * between
        high = advance(high, keys, value, i, count, rate, C.PRECISION)
        total = tl.dot(inner, value, total, input_precision=C.PRECISION)
        to = out + line * C.OUT_PITCH + head * C.HEAD + (i[:, None] * C.OUT_PITCH + column[None, :])
        cells = live[:, None] & (column < C.HEAD)[None, :]
        tl.store(to, total.to(out.dtype.element_ty), mask=cells)
        if C.HEADS * C.HEAD < C.OUT_PITCH:
            clear_padding(out, line, i, live, head, C)


@triton.jit
def load_prepared(
    prepared,
    line,
    i,
    live,
    lane,
    head,
    START: tl.constexpr,
    COUNT: tl.constexpr,
    C: Constants,
):
    """COUNT values from START on of head number `head`, queries before keys; 0 beyond.

    Of rows line + i; lanes hold COUNT values.
    """
    ALL: tl.constexpr = C.HEADS + C.KV_HEADS
    at = prepared + (line * ALL + head) * C.HEAD + START
    at += i[:, None] * (ALL * C.HEAD) + lane[None, :]
    return tl.load(at, mask=live[:, None] & (lane < COUNT)[None, :], other=0.0)


@triton.jit
def load_values(v, line, i, live, column, head, C: Constants):
    """The values [i, columns] of a head; 0 beyond it."""
    start = C.V_START + head * C.HEAD
    at = v + line * C.V_PITCH + start + (i[:, None] * C.V_PITCH + column[None, :])
    return tl.load(at, mask=live[:, None] & (column < C.HEAD)[None, :], other=0.0)


@triton.jit
def advance(state, keys, value, i, count, rate, PRECISION: tl.constexpr):
    """The state after a chunk of `count` tokens."""
    # Token i decays count - 1 - i times until the end of the chunk.
    to_end = tl.where(i < count, tl.exp2((count - 1 - i).to(tl.float32) * rate), 0.0)[:, None]
    whole = tl.exp2(count.to(tl.float32) * rate)
    return tl.dot(tl.trans(keys * to_end), value, state * whole, input_precision=PRECISION)


@triton.jit
def clear_padding(out, line, i, live, head, C: Constants):
    """Zeros after the columns of all heads, written by the programs of the last head."""
    padding = C.HEADS * C.HEAD + tl.arange(0, 16)
    beyond = padding < tl.where(head == C.HEADS - 1, C.OUT_PITCH, 0)
    to = out + line * C.OUT_PITCH + (i[:, None] * C.OUT_PITCH + padding[None, :])
    zeros = tl.zeros((i.shape[0], 16), out.dtype.element_ty)
    tl.store(to, zeros, mask=live[:, None] & beyond[None, :])
