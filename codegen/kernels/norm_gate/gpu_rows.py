"""The Triton function of norm and gate."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.triton.values import inverse_root, sigmoid, squared


@triton.jit
def norm_gate_rows(
    control,
    x,
    weight,
    gate,
    y,
    WEIGHT: tl.constexpr,
    GATE: tl.constexpr,
    EPS: tl.constexpr,
    COLUMNS: tl.constexpr,
    X_START: tl.constexpr,
    X_PITCH: tl.constexpr,
    GATE_START: tl.constexpr,
    GATE_PITCH: tl.constexpr,
    Y_PITCH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """y = rms_norm(x) * sigmoid(gate), padding 0; a program for each row, BLOCK holds Y_PITCH."""
    row = tl.program_id(0)
    if row >= tl.load(control):
        return
    at = row.to(tl.int64)
    column = tl.arange(0, BLOCK)
    live = column < COLUMNS
    value = tl.load(x + at * X_PITCH + X_START + column, mask=live, other=0.0).to(tl.float32)
    if WEIGHT:
        factor = inverse_root(tl.sum(squared(value), 0), COLUMNS, EPS)
        value = value * factor * tl.load(weight + column, mask=live, other=0.0)
    if GATE:
        logit = tl.load(gate + at * GATE_PITCH + GATE_START + column, mask=live, other=0.0)
        value = value * sigmoid(logit.to(tl.float32))
    tl.store(y + at * Y_PITCH + column, value.to(y.dtype.element_ty), mask=column < Y_PITCH)
