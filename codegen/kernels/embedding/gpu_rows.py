"""The Triton function of the embedding."""

import triton
import triton.language as tl


@triton.jit
def embed(
    control,
    tokens,
    weight,
    y,
    SCALE: tl.constexpr,
    COLUMNS: tl.constexpr,
    PITCH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """y[t] = SCALE * weight[tokens[t]]; programs (tokens, parts of BLOCK columns)."""
    row = tl.program_id(0)
    if row >= tl.load(control):
        return
    token = tl.load(tokens + row).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(weight + token * PITCH + column, mask=column < COLUMNS, other=0.0)
    value = value.to(tl.float32) * SCALE
    to = y + row.to(tl.int64) * PITCH + column
    tl.store(to, value.to(y.dtype.element_ty), mask=column < PITCH)
