"""The Triton function of the RMS norm."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.triton.values import inverse_root, sigmoid, squared


@triton.jit
def norm_groups(
    control,
    x,
    weight,
    rows,
    gate,
    y,
    LIVE: tl.constexpr,
    GATHER: tl.constexpr,
    GATE: tl.constexpr,
    EPS: tl.constexpr,
    COLUMNS: tl.constexpr,
    GROUP: tl.constexpr,
    X_START: tl.constexpr,
    X_PITCH: tl.constexpr,
    GATE_START: tl.constexpr,
    GATE_PITCH: tl.constexpr,
    Y_PITCH: tl.constexpr,
    GROUPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Norm of GROUPS groups of GROUP columns; programs (rows, parts of a row).

    BLOCK is a power of two that holds GROUP. With GATHER, row i is made of x[rows[i]].
    With GATE, row i is multiplied by the sigmoid of gate[i].
    """
    row = tl.program_id(0)
    if row >= tl.load(control + LIVE):
        return
    source = row
    if GATHER:
        source = tl.load(rows + row)
    lane = tl.arange(0, BLOCK)[None, :]
    first = (tl.program_id(1) * GROUPS + tl.arange(0, GROUPS)[:, None]) * GROUP
    live = (lane < GROUP) & (first < COLUMNS)
    at = x + source.to(tl.int64) * X_PITCH + X_START + first + lane
    value = tl.load(at, mask=live, other=0.0).to(tl.float32)
    factor = inverse_root(tl.sum(squared(value), 1), GROUP, EPS)
    scale = tl.load(weight + lane, mask=lane < GROUP, other=0.0)
    value = value * factor[:, None] * scale
    if GATE:
        gates = gate + row.to(tl.int64) * GATE_PITCH + GATE_START
        logit = tl.load(gates + first + lane, mask=live, other=0.0)
        value = value * sigmoid(logit.to(tl.float32))
    to = y + row.to(tl.int64) * Y_PITCH
    tl.store(to + first + lane, value.to(y.dtype.element_ty), mask=live)
    if COLUMNS < Y_PITCH:
        padding = COLUMNS + tl.arange(0, 16)
        inside = padding < tl.where(tl.program_id(1) == 0, Y_PITCH, 0)
        tl.store(to + padding, tl.zeros((16,), y.dtype.element_ty), mask=inside)
