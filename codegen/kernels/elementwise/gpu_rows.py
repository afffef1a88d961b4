"""The Triton function of element-wise operations of two operands."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.triton.values import sigmoid, silu


@triton.jit
def combine(
    control,
    a,
    b,
    y,
    FUNCTION: tl.constexpr,
    SCALE: tl.constexpr,
    COLUMNS: tl.constexpr,
    A_START: tl.constexpr,
    A_PITCH: tl.constexpr,
    B_START: tl.constexpr,
    B_PITCH: tl.constexpr,
    Y_PITCH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """y = FUNCTION(a, b), padding 0; programs (tokens, parts of BLOCK columns)."""
    row = tl.program_id(0)
    if row >= tl.load(control):
        return
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    live = column < COLUMNS
    at = row.to(tl.int64)
    left = tl.load(a + at * A_PITCH + A_START + column, mask=live, other=0.0).to(tl.float32)
    right = tl.load(b + at * B_PITCH + B_START + column, mask=live, other=0.0).to(tl.float32)
    if FUNCTION == "output_gate":
        value = left * sigmoid(right)
    elif FUNCTION == "swiglu":
        value = silu(left) * right
    else:
        value = left + right * SCALE
    tl.store(y + at * Y_PITCH + column, value.to(y.dtype.element_ty), mask=column < Y_PITCH)
