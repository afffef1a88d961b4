"""The Triton functions of linears whose weight is stored as integers; gpu_layout.py has the layout.

A value is scale * (i - zero), computed exactly in float32 and rounded once, as the IR has it.
"""

import triton
import triton.language as tl

from codegen.kernels.linear.gpu_epilogue import finish
from codegen.kernels.linear.gpu_rows import store_partial


@triton.jit
def expand(words, place: tl.constexpr, scale, offset, BITS: tl.constexpr, RANGE: tl.constexpr):
    """scale * (i - zero) of the codes at a place of the words; offset = scale * (RANGE + zero).

    The code goes into the mantissa of RANGE, 2^BITS: a float without a conversion, which is slow.
    Product and difference have at most 24 bits, so nothing is rounded.
    """
    code = (words >> (BITS * place)) & (RANGE - 1)
    number = (code << (23 - BITS)) | ((127 + BITS) << 23)
    return number.to(tl.float32, bitcast=True) * scale - offset


@triton.jit
def group_values(scales, zeros, at, RANGE: tl.constexpr, ZEROS: tl.constexpr):
    """Scale and offset of the groups of some rows, for `expand`."""
    scale = tl.load(scales + at).to(tl.float32)
    if ZEROS:
        offset = (tl.load(zeros + at).to(tl.float32) + RANGE) * scale
    else:
        offset = scale * (RANGE + RANGE // 2)
    return scale, offset


@triton.jit
def multiply_rows_by_integers(
    control,
    x,
    codes,
    scales,
    zeros,
    bias,
    residual,
    y,
    partials,
    LIVE: tl.constexpr,
    DEPTH: tl.constexpr,
    X_START: tl.constexpr,
    X_PITCH: tl.constexpr,
    WEIGHT_ROWS: tl.constexpr,
    BLOCKS: tl.constexpr,
    GROUP: tl.constexpr,
    BITS: tl.constexpr,
    RANGE: tl.constexpr,
    ZEROS: tl.constexpr,
    BIAS: tl.constexpr,
    SWIGLU: tl.constexpr,
    SCALE: tl.constexpr,
    COLUMNS: tl.constexpr,
    Y_PITCH: tl.constexpr,
    RESIDUAL_START: tl.constexpr,
    RESIDUAL_PITCH: tl.constexpr,
    PRECISION: tl.constexpr,
    SPLITS: tl.constexpr,
    PART: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
):
    """As `multiply_rows`, PART blocks of the layout in each part; values are rounded to x's type.

    With SwiGLU a tile takes as many rows of the weight, half of them gates; without parts their
    sums are brought together by a transposition of the tile.
    """
    first = tl.program_id(0) * TILE_ROWS
    live = tl.load(control + LIVE)
    if first >= live:
        return
    IN_WORD: tl.constexpr = 32 // BITS
    BLOCK: tl.constexpr = 32 * IN_WORD
    column = tl.program_id(1) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    r = tl.arange(0, 32)
    row = tl.arange(0, TILE_ROWS)
    lines = x + first.to(tl.int64) * X_PITCH + X_START
    right = lines + tl.minimum(row, live - 1 - first)[:, None] * X_PITCH + r[None, :]
    panel = (column // 64).to(tl.int64)
    left = codes + (panel * (BLOCKS * 2048) + column % 64 * 32)[:, None] + r[None, :]
    groups = panel * (BLOCKS * BLOCK // GROUP * 64) + column % 64
    total = tl.zeros((TILE_COLUMNS, TILE_ROWS), tl.float32)
    begin = tl.program_id(2) * PART
    for block in range(begin, tl.minimum(begin + PART, BLOCKS)):
        words = tl.load(left + block * 2048)
        for place in tl.static_range(IN_WORD):  # type: ignore
            k = block * BLOCK + place * 32
            if place * 32 % GROUP == 0:
                at = groups + k // GROUP * 64
                scale, offset = group_values(scales, zeros, at, RANGE, ZEROS)
            a = expand(words, place, scale[:, None], offset[:, None], BITS, RANGE)
            if DEPTH % BLOCK == 0:
                b = tl.load(right + k)
            else:
                b = tl.load(right + k, mask=(k + r < DEPTH)[None, :], other=0.0)
            a = a.to(x.dtype.element_ty)
            total = tl.dot(a, tl.trans(b), total, input_precision=PRECISION)
    if SPLITS > 1:
        store_partial(
            total, partials, first + row, column, live, WEIGHT_ROWS, SPLITS, tl.program_id(2)
        )
    else:
        up = total
        if SWIGLU:
            pairs = tl.reshape(total, (TILE_COLUMNS // 32, 2, 16, TILE_ROWS))
            total, up = tl.split(tl.permute(pairs, (0, 2, 3, 1)))
            total = tl.reshape(total, (TILE_COLUMNS // 2, TILE_ROWS))
            up = tl.reshape(up, (TILE_COLUMNS // 2, TILE_ROWS))
            column = tl.program_id(1) * (TILE_COLUMNS // 2) + tl.arange(0, TILE_COLUMNS // 2)
        finish(
            total,
            up,
            bias,
            residual,
            y,
            (first + row)[None, :],
            column[:, None],
            live,
            BIAS,
            SWIGLU,
            SCALE,
            COLUMNS,
            Y_PITCH,
            Y_PITCH,
            RESIDUAL_START,
            RESIDUAL_PITCH,
        )


@triton.jit
def expand_panels(
    control,
    codes,
    scales,
    zeros,
    weight,
    LIVE: tl.constexpr,
    BLOCKS: tl.constexpr,
    GROUP: tl.constexpr,
    BITS: tl.constexpr,
    RANGE: tl.constexpr,
    ZEROS: tl.constexpr,
):
    """weight [rows, depth] = the values of whole panels; programs (panels, blocks)."""
    if tl.load(control + LIVE) == 0:
        return
    IN_WORD: tl.constexpr = 32 // BITS
    BLOCK: tl.constexpr = 32 * IN_WORD
    panel = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    row = tl.arange(0, 64)
    r = tl.arange(0, 32)
    words = tl.load(codes + (panel * BLOCKS + block) * 2048 + row[:, None] * 32 + r[None, :])
    to = weight + (panel * 64 + row)[:, None] * (BLOCKS * BLOCK) + block * BLOCK + r[None, :]
    for place in tl.static_range(IN_WORD):  # type: ignore
        k = block * BLOCK + place * 32
        at = (panel * (BLOCKS * BLOCK // GROUP) + k // GROUP) * 64 + row
        scale, offset = group_values(scales, zeros, at, RANGE, ZEROS)
        value = expand(words, place, scale[:, None], offset[:, None], BITS, RANGE)
        tl.store(to + place * 32, value.to(weight.dtype.element_ty))
