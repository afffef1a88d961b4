"""The Triton function of lightning attention for tokens that were generated."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.lightning_attention.gpu.prepare_heads import prepare
from sala_compile.codegen.kernels.lightning_attention.gpu.segment_scan import clear_padding
from sala_compile.codegen.kernels.triton.values import entry, sigmoid


@triton.jit
def step(
    control,
    offsets,
    history,
    slots,
    q,
    k,
    v,
    state,
    q_norm,
    k_norm,
    rope,
    norm,
    gate,
    out,
    sums,
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
    SCALED: tl.constexpr,
    GATE_START: tl.constexpr,
    GATE_PITCH: tl.constexpr,
    BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """state = decay * state + k v, out = q state, for the new tokens of a sequence one by one.

    Programs (sequences, heads, parts of columns). With SCALED out is multiplied by `norm` and by
    the sigmoid of a gate, and `sums` takes its sums of squares. The state is read and written once,
    and 0 if there is no history.
    """
    sequence = tl.program_id(0)
    if sequence >= tl.load(control + 1):
        return
    HALF: tl.constexpr = HEAD // 2
    head = tl.program_id(1)
    shared = head // (HEADS // KV_HEADS) * HEAD
    begin = tl.load(offsets + sequence)
    end = tl.load(offsets + sequence + 1)
    i = tl.arange(0, 1)
    live = i == 0
    lane = tl.arange(0, BLOCK)
    column = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)
    place = (tl.load(slots + sequence).to(tl.int64) * HEADS + head) * (HEAD * HEAD)
    at_low = state + place + lane[:, None] * HEAD + column[None, :]
    at_high = at_low + HALF * HEAD
    inside = (lane < HALF)[:, None] & (column < HEAD)[None, :]
    known = tl.where(tl.load(history + sequence) > 0, HALF, 0)
    valid = (lane < known)[:, None] & (column < HEAD)[None, :]
    decay = tl.exp2(entry(head, RATES, HEADS))
    low = tl.load(at_low, mask=valid, other=0.0)
    high = tl.load(at_high, mask=valid, other=0.0)
    for row in range(begin, end):
        line = (begin * 0 + row).to(tl.int64)
        key, more = prepare(
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
        at = v + line * V_PITCH + V_START + shared + column
        value = tl.load(at, mask=column < HEAD, other=0.0)[None, :]
        low = low * decay + tl.trans(key) * value
        high = high * decay + tl.trans(more) * value
        total = tl.sum(tl.trans(query) * low, 0) + tl.sum(tl.trans(rest) * high, 0)
        if SCALED:
            PARTS: tl.constexpr = (HEAD + COLUMNS - 1) // COLUMNS
            pitch: tl.constexpr = (HEADS * PARTS + 15) // 16 * 16
            square = tl.sum(tl.where(column < HEAD, total * total, 0.0), 0)
            tl.store(sums + line * pitch + head * PARTS + tl.program_id(2), square)
            cell = head * HEAD + column
            total = total * tl.load(norm + cell, mask=column < HEAD, other=0.0)
            if GATE_PITCH:
                at = gate + line * GATE_PITCH + GATE_START + cell
                total = total * sigmoid(tl.load(at, mask=column < HEAD, other=0.0))
        to = out + line * OUT_PITCH + head * HEAD + column
        tl.store(to, total.to(out.dtype.element_ty), mask=column < HEAD)
        if HEADS * HEAD < OUT_PITCH:
            clear_padding(out, line, i, live, head, HEADS, HEAD, OUT_PITCH)
    tl.store(at_low, low, mask=inside)
    tl.store(at_high, high, mask=inside)
