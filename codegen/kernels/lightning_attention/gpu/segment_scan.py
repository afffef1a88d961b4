"""The Triton functions of lightning attention over segments of sequences, after `prepare_heads`."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.lightning_attention.gpu.prepare_heads import segment_rows
from sala_compile.codegen.kernels.triton.values import entry


@triton.jit
def end_states(
    control,
    offsets,
    history,
    prepared,
    v,
    segments,
    RATES: tl.constexpr,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HEAD: tl.constexpr,
    V_START: tl.constexpr,
    V_PITCH: tl.constexpr,
    PRECISION: tl.constexpr,
    SEGMENT: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """segments[s, h] = the state after segment s that begins with a state of 0.

    Programs (parts of COLUMNS columns, heads, segments), so that the parts of a head read its keys
    at the same time; BLOCK holds a head.
    """
    sequences = tl.load(control + 1)
    if sequences == 0:
        return
    begin, end = segment_rows(offsets, history, sequences, tl.program_id(2), SEGMENT)
    if begin == end:
        return
    head = tl.program_id(1)
    shared = head // (HEADS // KV_HEADS)
    rate = entry(head, RATES, HEADS)
    i = tl.arange(0, CHUNK)
    lane = tl.arange(0, BLOCK)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    state = tl.zeros((BLOCK, COLUMNS), tl.float32)
    for first in range(begin, end, CHUNK):
        count = tl.minimum(end - first, CHUNK)
        line, live = (begin * 0 + first).to(tl.int64), i < count
        keys = load_prepared(
            prepared,
            line,
            i,
            live,
            lane,
            HEADS + shared,
            0,  # type: ignore
            HEADS + KV_HEADS,
            HEAD,
            HEAD,
        )
        value = load_values(v, line, i, live, column, V_START + shared * HEAD, V_PITCH, HEAD)
        state = advance(state, keys, value, i, count, rate, PRECISION)
    place = (tl.program_id(2).to(tl.int64) * HEADS + head) * (HEAD * HEAD)
    at = segments + place + lane[:, None] * HEAD + column[None, :]
    tl.store(at, state, mask=(lane < HEAD)[:, None] & (column < HEAD)[None, :])


@triton.jit
def start_states(
    control,
    offsets,
    history,
    slots,
    state,
    segments,
    RATES: tl.constexpr,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    SEGMENT: tl.constexpr,
    PART: tl.constexpr,
):
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
    rate = entry(head, RATES, HEADS)
    cell = tl.program_id(2) * PART + tl.arange(0, PART)
    pool = state + (tl.load(slots + sequence).to(tl.int64) * HEADS + head) * SIZE + cell
    known = tl.where(tl.load(history + sequence) > 0, SIZE, 0)
    current = tl.load(pool, mask=cell < known, other=0.0)
    before = tl.load(history + sequence) % SEGMENT
    length = tl.where(end > begin, end - begin, -before)
    index = (begin // SEGMENT + 2 * sequence).to(tl.int64)
    at = segments + (index * HEADS + head) * SIZE + cell
    for first in range(-before, length, SEGMENT):
        added = tl.load(at, mask=cell < SIZE, other=0.0)
        tl.store(at, current, mask=cell < SIZE)
        count = tl.minimum(first + SEGMENT, length) - tl.maximum(first, 0)
        current = current * tl.exp2(count.to(tl.float32) * rate) + added
        at += HEADS * SIZE
    tl.store(pool, current, mask=cell < SIZE)


@triton.jit
def outputs(
    control,
    offsets,
    history,
    prepared,
    v,
    segments,
    out,
    RATES: tl.constexpr,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HEAD: tl.constexpr,
    V_START: tl.constexpr,
    V_PITCH: tl.constexpr,
    OUT_PITCH: tl.constexpr,
    PRECISION: tl.constexpr,
    SEGMENT: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The outputs of a segment from the state before it; programs as in `end_states`.

    A head goes in two halves, each held by BLOCK, so that a query and a key leave their registers
    before the next ones come.
    """
    sequences = tl.load(control + 1)
    if sequences == 0:
        return
    begin, end = segment_rows(offsets, history, sequences, tl.program_id(2), SEGMENT)
    if begin == end:
        return
    ALL: tl.constexpr = HEADS + KV_HEADS
    HALF: tl.constexpr = HEAD // 2
    head = tl.program_id(1)
    shared = head // (HEADS // KV_HEADS)
    rate = entry(head, RATES, HEADS)
    i = tl.arange(0, CHUNK)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    lane = tl.arange(0, BLOCK)
    place = (tl.program_id(2).to(tl.int64) * HEADS + head) * (HEAD * HEAD)
    at = segments + place + lane[:, None] * HEAD + column[None, :]
    inside = (lane < HALF)[:, None] & (column < HEAD)[None, :]
    low = tl.load(at, mask=inside, other=0.0)
    high = tl.load(at + HALF * HEAD, mask=inside, other=0.0)
    distance = i[:, None] - i[None, :]
    # [query i, key j]: decay^(i - j), causal.
    between = tl.where(distance >= 0, tl.exp2(distance.to(tl.float32) * rate), 0.0)
    since_start = tl.exp2((i + 1).to(tl.float32) * rate)[:, None]
    for first in range(begin, end, CHUNK):
        count = tl.minimum(end - first, CHUNK)
        line, live = (begin * 0 + first).to(tl.int64), i < count
        value = load_values(v, line, i, live, column, V_START + shared * HEAD, V_PITCH, HEAD)
        query = load_prepared(prepared, line, i, live, lane, head, 0, ALL, HEAD, HALF)  # type: ignore
        keys = load_prepared(prepared, line, i, live, lane, HEADS + shared, 0, ALL, HEAD, HALF)  # type: ignore
        total = tl.dot(query, low, input_precision=PRECISION)
        inner = tl.dot(query, tl.trans(keys), input_precision=PRECISION)
        low = advance(low, keys, value, i, count, rate, PRECISION)
        query = load_prepared(prepared, line, i, live, lane, head, HALF, ALL, HEAD, HALF)
        keys = load_prepared(prepared, line, i, live, lane, HEADS + shared, HALF, ALL, HEAD, HALF)
        total = tl.dot(query, high, total, input_precision=PRECISION) * since_start
        inner = tl.dot(query, tl.trans(keys), inner, input_precision=PRECISION) * between
        high = advance(high, keys, value, i, count, rate, PRECISION)
        total = tl.dot(inner, value, total, input_precision=PRECISION)
        to = out + line * OUT_PITCH + head * HEAD + (i[:, None] * OUT_PITCH + column[None, :])
        cells = live[:, None] & (column < HEAD)[None, :]
        tl.store(to, total.to(out.dtype.element_ty), mask=cells)
        if HEADS * HEAD < OUT_PITCH:
            clear_padding(out, line, i, live, head, HEADS, HEAD, OUT_PITCH)


@triton.jit
def load_prepared(
    prepared,
    line,
    i,
    live,
    lane,
    head,
    START: tl.constexpr,
    ALL: tl.constexpr,
    HEAD: tl.constexpr,
    COUNT: tl.constexpr,
):
    """COUNT values from START on of head number `head` of ALL, queries before keys; 0 beyond.

    Of rows line + i; lanes hold COUNT values.
    """
    at = prepared + (line * ALL + head) * HEAD + START
    at += i[:, None] * (ALL * HEAD) + lane[None, :]
    return tl.load(at, mask=live[:, None] & (lane < COUNT)[None, :], other=0.0)


@triton.jit
def load_values(v, line, i, live, column, START, PITCH: tl.constexpr, HEAD: tl.constexpr):
    """The values [i, columns] of a head that begins at column START; 0 beyond it."""
    at = v + line * PITCH + START + (i[:, None] * PITCH + column[None, :])
    return tl.load(at, mask=live[:, None] & (column < HEAD)[None, :], other=0.0)


@triton.jit
def advance(state, keys, value, i, count, rate, PRECISION: tl.constexpr):
    """The state after a chunk of `count` tokens."""
    # Token i decays count - 1 - i times until the end of the chunk.
    to_end = tl.where(i < count, tl.exp2((count - 1 - i).to(tl.float32) * rate), 0.0)[:, None]
    whole = tl.exp2(count.to(tl.float32) * rate)
    return tl.dot(tl.trans(keys * to_end), value, state * whole, input_precision=PRECISION)


@triton.jit
def clear_padding(
    out, line, i, live, head, HEADS: tl.constexpr, HEAD: tl.constexpr, OUT_PITCH: tl.constexpr
):
    """Zeros after the columns of all heads, written by the programs of the last head."""
    padding = HEADS * HEAD + tl.arange(0, 16)
    beyond = padding < tl.where(head == HEADS - 1, OUT_PITCH, 0)
    to = out + line * OUT_PITCH + (i[:, None] * OUT_PITCH + padding[None, :])
    zeros = tl.zeros((i.shape[0], 16), out.dtype.element_ty)
    tl.store(to, zeros, mask=live[:, None] & beyond[None, :])
