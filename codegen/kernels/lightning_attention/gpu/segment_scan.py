"""The Triton functions of lightning attention over segments of sequences, in three launches."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.lightning_attention.gpu.prepare_heads import prepare, segment_rows
from sala_compile.codegen.kernels.triton.values import entry


@triton.jit
def end_states(
    control,
    offsets,
    history,
    k,
    v,
    k_norm,
    rope,
    segments,
    RATES: tl.constexpr,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HEAD: tl.constexpr,
    EPS: tl.constexpr,
    NORM: tl.constexpr,
    ROPE: tl.constexpr,
    TABLE_PITCH: tl.constexpr,
    K_START: tl.constexpr,
    K_PITCH: tl.constexpr,
    V_START: tl.constexpr,
    V_PITCH: tl.constexpr,
    PRECISION: tl.constexpr,
    SEGMENT: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """segments[s, h] = the state behind segment s that begins with a state of 0.

    Programs (parts of COLUMNS columns, heads, segments), so that the parts of a head read its keys
    side by side; BLOCK holds half a head.
    """
    sequences = tl.load(control + 1)
    if sequences == 0:
        return
    begin, end = segment_rows(offsets, history, sequences, tl.program_id(2), SEGMENT)
    if begin == end:
        return
    head = tl.program_id(1)
    shared = head // (HEADS // KV_HEADS) * HEAD
    rate = entry(head, RATES, HEADS)
    i = tl.arange(0, CHUNK)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    low = tl.zeros((BLOCK, COLUMNS), tl.float32)
    high = low
    for first in range(begin, end, CHUNK):
        count = tl.minimum(end - first, CHUNK)
        line, live = (begin * 0 + first).to(tl.int64), i < count
        keys, more = prepare(
            k,
            k_norm,
            rope,
            line,
            i,
            live,
            K_START + shared,
            K_PITCH,
            HEAD,
            BLOCK,
            1.0,
            NORM,
            ROPE,
            EPS,
            TABLE_PITCH,
        )
        value = load_values(v, line, i, live, column, V_START + shared, V_PITCH, HEAD)
        low, high = advance(low, high, keys, more, value, i, count, rate, PRECISION)
    lane = tl.arange(0, BLOCK)
    place = (tl.program_id(2).to(tl.int64) * HEADS + head) * (HEAD * HEAD)
    at = segments + place + lane[:, None] * HEAD + column[None, :]
    inside = (lane < HEAD // 2)[:, None] & (column < HEAD)[None, :]
    tl.store(at, low, mask=inside)
    tl.store(at + HEAD // 2 * HEAD, high, mask=inside)


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
    """segments[s, h] = the state before segment s, in place; the state behind the last to `state`.

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
        behind = tl.load(at, mask=cell < SIZE, other=0.0)
        tl.store(at, current, mask=cell < SIZE)
        count = tl.minimum(first + SEGMENT, length) - tl.maximum(first, 0)
        current = current * tl.exp2(count.to(tl.float32) * rate) + behind
        at += HEADS * SIZE
    tl.store(pool, current, mask=cell < SIZE)


@triton.jit
def outputs(
    control,
    offsets,
    history,
    q,
    k,
    v,
    q_norm,
    k_norm,
    rope,
    segments,
    out,
    RATES: tl.constexpr,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HEAD: tl.constexpr,
    SCALE: tl.constexpr,
    EPS: tl.constexpr,
    NORM: tl.constexpr,
    ROPE: tl.constexpr,
    TABLE_PITCH: tl.constexpr,
    Q_START: tl.constexpr,
    Q_PITCH: tl.constexpr,
    K_START: tl.constexpr,
    K_PITCH: tl.constexpr,
    V_START: tl.constexpr,
    V_PITCH: tl.constexpr,
    OUT_PITCH: tl.constexpr,
    PRECISION: tl.constexpr,
    SEGMENT: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The outputs of a segment from the state before it; programs as in `end_states`."""
    sequences = tl.load(control + 1)
    if sequences == 0:
        return
    begin, end = segment_rows(offsets, history, sequences, tl.program_id(2), SEGMENT)
    if begin == end:
        return
    head = tl.program_id(1)
    shared = head // (HEADS // KV_HEADS) * HEAD
    rate = entry(head, RATES, HEADS)
    i = tl.arange(0, CHUNK)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    lane = tl.arange(0, BLOCK)
    place = (tl.program_id(2).to(tl.int64) * HEADS + head) * (HEAD * HEAD)
    at = segments + place + lane[:, None] * HEAD + column[None, :]
    inside = (lane < HEAD // 2)[:, None] & (column < HEAD)[None, :]
    low = tl.load(at, mask=inside, other=0.0)
    high = tl.load(at + HEAD // 2 * HEAD, mask=inside, other=0.0)
    distance = i[:, None] - i[None, :]
    # [query i, key j]: decay^(i - j), causal.
    between = tl.where(distance >= 0, tl.exp2(distance.to(tl.float32) * rate), 0.0)
    since_start = tl.exp2((i + 1).to(tl.float32) * rate)[:, None]
    for first in range(begin, end, CHUNK):
        count = tl.minimum(end - first, CHUNK)
        line, live = (begin * 0 + first).to(tl.int64), i < count
        query, rest = prepare(
            q,
            q_norm,
            rope,
            line,
            i,
            live,
            Q_START + head * HEAD,
            Q_PITCH,
            HEAD,
            BLOCK,
            SCALE,
            NORM,
            ROPE,
            EPS,
            TABLE_PITCH,
        )
        total = tl.dot(query, low, input_precision=PRECISION)
        total = tl.dot(rest, high, total, input_precision=PRECISION) * since_start
        keys, more = prepare(
            k,
            k_norm,
            rope,
            line,
            i,
            live,
            K_START + shared,
            K_PITCH,
            HEAD,
            BLOCK,
            1.0,
            NORM,
            ROPE,
            EPS,
            TABLE_PITCH,
        )
        value = load_values(v, line, i, live, column, V_START + shared, V_PITCH, HEAD)
        inner = tl.dot(query, tl.trans(keys), input_precision=PRECISION)
        inner = tl.dot(rest, tl.trans(more), inner, input_precision=PRECISION) * between
        total = tl.dot(inner, value, total, input_precision=PRECISION)
        to = out + line * OUT_PITCH + head * HEAD + (i[:, None] * OUT_PITCH + column[None, :])
        cells = live[:, None] & (column < HEAD)[None, :]
        tl.store(to, total.to(out.dtype.element_ty), mask=cells)
        low, high = advance(low, high, keys, more, value, i, count, rate, PRECISION)
        if HEADS * HEAD < OUT_PITCH:
            clear_padding(out, line, i, live, head, HEADS, HEAD, OUT_PITCH)


@triton.jit
def load_values(v, line, i, live, column, START, PITCH: tl.constexpr, HEAD: tl.constexpr):
    """The values [i, columns] of a head that begins at column START; 0 beyond it."""
    at = v + line * PITCH + START + (i[:, None] * PITCH + column[None, :])
    return tl.load(at, mask=live[:, None] & (column < HEAD)[None, :], other=0.0)


@triton.jit
def advance(low, high, keys, more, value, i, count, rate, PRECISION: tl.constexpr):
    """Both halves of the state behind a chunk of `count` tokens."""
    # Token i decays count - 1 - i times until the end of the chunk.
    to_end = tl.where(i < count, tl.exp2((count - 1 - i).to(tl.float32) * rate), 0.0)[:, None]
    whole = tl.exp2(count.to(tl.float32) * rate)
    low = tl.dot(tl.trans(keys * to_end), value, low * whole, input_precision=PRECISION)
    high = tl.dot(tl.trans(more * to_end), value, high * whole, input_precision=PRECISION)
    return low, high


@triton.jit
def clear_padding(
    out, line, i, live, head, HEADS: tl.constexpr, HEAD: tl.constexpr, OUT_PITCH: tl.constexpr
):
    """Zeros behind the columns of all heads, written by the programs of the last head."""
    padding = HEADS * HEAD + tl.arange(0, 16)
    beyond = padding < tl.where(head == HEADS - 1, OUT_PITCH, 0)
    to = out + line * OUT_PITCH + (i[:, None] * OUT_PITCH + padding[None, :])
    zeros = tl.zeros((i.shape[0], 16), out.dtype.element_ty)
    tl.store(to, zeros, mask=live[:, None] & beyond[None, :])
