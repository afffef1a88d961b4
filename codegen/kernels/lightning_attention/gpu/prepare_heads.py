"""Device functions that lightning attention's GPU kernels share: queries and keys."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.lightning_attention.gpu.constants import Constants
from sala_compile.codegen.kernels.triton.values import inverse_root, squared


@triton.jit
def prepare(x, weight, table, line, i, live, START, PITCH: tl.constexpr, SCALE, C: Constants):
    """Both halves [i, BLOCK] of the head from column START on: norm, SCALE, rotation.

    Of rows line + i; `line` is an int64. BLOCK holds half a head; what is beyond it and rows that
    are not live are 0.
    """
    HALF: tl.constexpr = C.HEAD // 2
    lane = tl.arange(0, C.BLOCK)
    inside = live[:, None] & (lane < HALF)[None, :]
    at = x + line * PITCH + START + (i[:, None] * PITCH + lane[None, :])
    low = tl.load(at, mask=inside, other=0.0)
    high = tl.load(at + HALF, mask=inside, other=0.0)
    if C.NORM:
        squares = tl.sum(squared(low), 1) + tl.sum(squared(high), 1)
        factor = inverse_root(squares, C.HEAD, C.EPS)[:, None]
        low = low * factor * tl.load(weight + lane, mask=lane < HALF, other=0.0)[None, :]
        high = high * factor * tl.load(weight + HALF + lane, mask=lane < HALF, other=0.0)[None, :]
    low = low * SCALE
    high = high * SCALE
    if C.ROPE:
        at = table + line * C.TABLE_PITCH + (i[:, None] * C.TABLE_PITCH + lane[None, :])
        cos = tl.load(at, mask=inside, other=0.0)
        sin = tl.load(at + HALF, mask=inside, other=0.0)
        low, high = low * cos - high * sin, high * cos + low * sin
    return low, high


@triton.jit
def query_halves(q, norm, table, line, i, live, head, C: Constants):
    """Both halves of a query, ready for products."""
    start = C.Q_START + head * C.HEAD
    return prepare(q, norm, table, line, i, live, start, C.Q_PITCH, C.SCALE, C)


@triton.jit
def key_halves(k, norm, table, line, i, live, head, C: Constants):
    """Both halves of a key, ready for products."""
    start = C.K_START + head * C.HEAD
    return prepare(k, norm, table, line, i, live, start, C.K_PITCH, 1.0, C)


@triton.jit
def prepare_heads(control, q, k, q_norm, k_norm, rope, prepared, C: Constants):
    """prepared [tokens, HEADS + KV_HEADS, HEAD] = queries, then keys, for all that read them.

    Programs (heads, parts of ROWS tokens); BLOCK holds half a head.
    """
    first = tl.program_id(1) * C.ROWS
    tokens = tl.load(control)
    if first >= tokens:
        return
    head = tl.program_id(0)
    i = tl.arange(0, C.ROWS)
    live = i < tokens - first
    line = first.to(tl.int64)
    if head < C.HEADS:
        low, high = query_halves(q, q_norm, rope, line, i, live, head, C)
    else:
        low, high = key_halves(k, k_norm, rope, line, i, live, head - C.HEADS, C)
    HALF: tl.constexpr = C.HEAD // 2
    PITCH: tl.constexpr = (C.HEADS + C.KV_HEADS) * C.HEAD
    lane = tl.arange(0, C.BLOCK)
    at = prepared + line * PITCH + head * C.HEAD + (i[:, None] * PITCH + lane[None, :])
    inside = live[:, None] & (lane < HALF)[None, :]
    tl.store(at, low, mask=inside)
    tl.store(at + HALF, high, mask=inside)
