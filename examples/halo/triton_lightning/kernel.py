"""The recurrence a chunk at a time, in either direction of time: one kernel for all gradients."""

import triton
import triton.language as tl


@triton.jit
def recurrence_kernel(
    q, k, v, out, first, last, slopes, tokens, heads,
    D: tl.constexpr, E: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    CHUNK: tl.constexpr, REVERSE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """out_t = q_t S_t with S_t = exp(-slope) S_(t-1) + k_t^T v_t, from S = first to S = last.

    q, k [texts, tokens, heads, D], v and out [texts, tokens, heads, E], states [texts, heads, D,
    E], slopes [heads]; all float32 and contiguous. With REVERSE the last token is t = 0. A program
    has a text and head, and COLUMNS of E; ROWS is D as a power of two.
    """
    text_head = tl.program_id(0).to(tl.int64)
    head = text_head % heads
    base = text_head // heads * tokens * heads + head
    d, i = tl.arange(0, ROWS), tl.arange(0, CHUNK)
    e = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    in_d, in_e = d < D, e < E
    rate = tl.load(slopes + head)
    places = (text_head * D + d[:, None]) * E + e[None, :]
    in_state = in_d[:, None] & in_e[None, :]
    state = tl.load(first + places, mask=in_state, other=0.0)
    distance = i[:, None] - i[None, :]
    between = tl.where(distance >= 0, tl.exp(-rate * tl.maximum(distance, 0)), 0.0)
    since = tl.exp(-rate * (i + 1))
    for start in range(0, tokens, CHUNK):
        step = start + i
        live = step < tokens
        size = tl.minimum(tokens - start, CHUNK)
        row = base + tl.where(REVERSE, tokens - 1 - step, step) * heads
        narrow, wide = row[:, None] * D + d[None, :], row[:, None] * E + e[None, :]
        in_keys, in_values = live[:, None] & in_d[None, :], live[:, None] & in_e[None, :]
        queries = tl.load(q + narrow, mask=in_keys, other=0.0)
        keys = tl.load(k + narrow, mask=in_keys, other=0.0)
        values = tl.load(v + wide, mask=in_values, other=0.0)
        weights = tl.dot(queries, tl.trans(keys), input_precision=PRECISION) * between
        inside = tl.dot(weights, values, input_precision=PRECISION)
        before = tl.dot(queries, state, input_precision=PRECISION)
        tl.store(out + wide, inside + since[:, None] * before, mask=in_values)
        to_end = tl.exp(-rate * tl.maximum(size - 1 - i, 0))
        added = tl.dot(tl.trans(keys * to_end[:, None]), values, input_precision=PRECISION)
        state = tl.exp(-rate * size) * state + added
    tl.store(last + places, state, mask=in_state)
