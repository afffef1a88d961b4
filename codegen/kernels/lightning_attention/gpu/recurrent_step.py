"""The Triton function of lightning attention for tokens that were generated."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.lightning_attention.gpu.constants import Constants
from sala_compile.codegen.kernels.lightning_attention.gpu.prepare_heads import (
    key_halves,
    query_halves,
)
from sala_compile.codegen.kernels.lightning_attention.gpu.segment_scan import clear_padding
from sala_compile.codegen.kernels.triton.values import entry, sigmoid


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
    state,
    q_norm,
    k_norm,
    rope,
    norm,
    gate,
    out,
    sums,
    C: Constants,
):
    """state = decay * state + k v, out = q state, for the new tokens of a sequence one by one.

    Programs (sequences, heads, parts of columns). With SCALED out is multiplied by `norm` and by
    the sigmoid of a gate, and `sums` takes its sums of squares. The state is read and written once,
    and 0 if there is no history. From row `checkpoints` of the pool on, unless that is negative,
    the states after all tokens but the last are written as well.
    """
    sequence = tl.program_id(0)
    if sequence >= tl.load(control + 1):
        return
    HALF: tl.constexpr = C.HEAD // 2
    head = tl.program_id(1)
    shared = head // (C.HEADS // C.KV_HEADS)
    begin = tl.load(offsets + sequence)
    end = tl.load(offsets + sequence + 1)
    i = tl.arange(0, 1)
    live = i == 0
    lane = tl.arange(0, C.BLOCK)
    column = tl.program_id(2) * C.COLUMNS + tl.arange(0, C.COLUMNS)
    cell = lane[:, None] * C.HEAD + column[None, :]
    at_low = state + _state_of(tl.load(slots + sequence), head, C) + cell
    at_high = at_low + HALF * C.HEAD
    checkpoint = tl.load(checkpoints + sequence)
    inside = (lane < HALF)[:, None] & (column < C.HEAD)[None, :]
    known = tl.where(tl.load(history + sequence) > 0, HALF, 0)
    valid = (lane < known)[:, None] & (column < C.HEAD)[None, :]
    decay = tl.exp2(entry(head, C.RATES, C.HEADS))
    low = tl.load(at_low, mask=valid, other=0.0)
    high = tl.load(at_high, mask=valid, other=0.0)
    for row in range(begin, end):
        line = (begin * 0 + row).to(tl.int64)
        key, more = key_halves(k, k_norm, rope, line, i, live, shared, C)
        query, rest = query_halves(q, q_norm, rope, line, i, live, head, C)
        at = v + line * C.V_PITCH + C.V_START + shared * C.HEAD + column
        value = tl.load(at, mask=column < C.HEAD, other=0.0)[None, :]
        low = low * decay + tl.trans(key) * value
        high = high * decay + tl.trans(more) * value
        total = tl.sum(tl.trans(query) * low, 0) + tl.sum(tl.trans(rest) * high, 0)
        if C.SCALED:
            PARTS: tl.constexpr = (C.HEAD + C.COLUMNS - 1) // C.COLUMNS
            pitch: tl.constexpr = (C.HEADS * PARTS + 15) // 16 * 16
            square = tl.sum(tl.where(column < C.HEAD, total * total, 0.0), 0)
            tl.store(sums + line * pitch + head * PARTS + tl.program_id(2), square)
            feature = head * C.HEAD + column
            total = total * tl.load(norm + feature, mask=column < C.HEAD, other=0.0)
            if C.GATE_PITCH:
                at = gate + line * C.GATE_PITCH + C.GATE_START + feature
                total = total * sigmoid(tl.load(at, mask=column < C.HEAD, other=0.0))
        to = out + line * C.OUT_PITCH + head * C.HEAD + column
        tl.store(to, total.to(out.dtype.element_ty), mask=column < C.HEAD)
        if C.HEADS * C.HEAD < C.OUT_PITCH:
            clear_padding(out, line, i, live, head, C)
        if (checkpoint >= 0) & (row < end - 1):
            kept = state + _state_of(checkpoint + row - begin, head, C) + cell
            tl.store(kept, low, mask=inside)
            tl.store(kept + HALF * C.HEAD, high, mask=inside)
    tl.store(at_low, low, mask=inside)
    tl.store(at_high, high, mask=inside)


@triton.jit
def _state_of(slot, head, C: Constants):
    """Where the state of a head begins in row `slot` of the pool."""
    return (slot.to(tl.int64) * C.HEADS + head) * C.SIZE
