"""The Triton functions of linears with integer weights; layouts.integer_blocks has the layout."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.linear.gpu.epilogue import finish_rows
from sala_compile.codegen.kernels.linear.gpu.split_norm import inverse_norms


@triton.jit
def expand(code, scale, offset, BITS: tl.constexpr, RANGE: tl.constexpr):
    """scale * (i - zero) of codes; offset = scale * (RANGE + zero).

    The code goes into the mantissa of RANGE, 2^BITS: a float without a conversion, which is slow.
    Product and difference have at most 24 bits, so nothing is rounded.
    """
    # 2^BITS * (1 + code / 2^BITS) = RANGE + code.
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
def nibbles(words, shift: tl.constexpr, magic: tl.constexpr):
    """Four bits of both halves of the words as a pair of bf16, side by side: no conversion.

    They are the last bits of the mantissa: with 0x4300 of 128 + i, with 0x4500 of 2048 + 16 i.
    """
    # One shift and one three-input operation (lop3) for two values.
    pair = ((words >> shift) & 0x000F000F) | (magic << 16 | magic)
    low = pair.to(tl.int16).to(tl.bfloat16, bitcast=True)
    high = (pair >> 16).to(tl.int16).to(tl.bfloat16, bitcast=True)
    return tl.reshape(tl.join(low, high), (words.shape[0], words.shape[1], 2 * words.shape[2]))


@triton.jit
def codes_at(words, shift: tl.constexpr, RANGE: tl.constexpr):
    """The codes of both halves of the words at a place, side by side, as float32."""
    low = ((words >> shift) & (RANGE - 1)).to(tl.float32)
    high = ((words >> (shift + 16)) & (RANGE - 1)).to(tl.float32)
    return tl.reshape(tl.join(low, high), (words.shape[0], words.shape[1], 2 * words.shape[2]))


@triton.jit
def add_products(
    product,
    words,
    b,
    place: tl.constexpr,
    BITS: tl.constexpr,
    RANGE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The sums with those over the columns at a place of the words; bytes are two nibbles."""
    if b.dtype != tl.bfloat16:
        a = codes_at(words, BITS * place, RANGE)  # type: ignore
        product = tl.dot(a, b, product, input_precision=PRECISION)
    else:
        product = tl.dot(nibbles(words, BITS * place, 0x4300), b, product)  # type: ignore
        if BITS == 8:
            product = tl.dot(nibbles(words, BITS * place + 4, 0x4500), b, product)  # type: ignore
    return product


@triton.jit
def load_where(at, there, EVERYWHERE: tl.constexpr):
    """Values where they are, 0 elsewhere."""
    return tl.load(at) if EVERYWHERE else tl.load(at, mask=there, other=0)


@triton.jit
def multiply_rows_by_integers(
    control,
    x,
    codes,
    scales,
    zeros,
    squares,
    bias,
    residual,
    norm,
    y,
    scaled,
    sums,
    LIVE: tl.constexpr,
    DEPTH: tl.constexpr,
    X_START: tl.constexpr,
    X_PITCH: tl.constexpr,
    BLOCKS: tl.constexpr,
    WORDS: tl.constexpr,
    GROUP: tl.constexpr,
    BITS: tl.constexpr,
    RANGE: tl.constexpr,
    ZEROS: tl.constexpr,
    NORM: tl.constexpr,
    SQUARES: tl.constexpr,
    EPS: tl.constexpr,
    BIAS: tl.constexpr,
    SWIGLU: tl.constexpr,
    SCALE: tl.constexpr,
    COLUMNS: tl.constexpr,
    Y_PITCH: tl.constexpr,
    RESIDUAL_START: tl.constexpr,
    RESIDUAL_PITCH: tl.constexpr,
    SCALED: tl.constexpr,
    TILES: tl.constexpr,
    PRECISION: tl.constexpr,
    PARTS: tl.constexpr,
    PART: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
):
    """The same as `multiply_rows`; a part of the depth has PART blocks of the layout.

    x is multiplied by the codes, and the sums of a group by its scale: values are not rounded. In
    bf16 the codes are in mantissas, and their offset times the sum of x, which products with ones
    give, is subtracted.
    """
    first = tl.program_id(0) * TILE_ROWS
    live = tl.load(control + LIVE)
    if first >= live:
        return
    PLACES: tl.constexpr = 16 // BITS
    SPAN: tl.constexpr = 2 * WORDS
    BLOCK: tl.constexpr = SPAN * PLACES
    UNITS: tl.constexpr = max(1, BLOCK // GROUP)  # type: ignore
    IN_UNIT: tl.constexpr = PLACES // UNITS
    PAIRS: tl.constexpr = x.dtype.element_ty == tl.bfloat16
    BASE: tl.constexpr = (128 if BITS == 4 else 2176) if PAIRS else 0  # type: ignore
    EVEN: tl.constexpr = (DEPTH == BLOCKS * BLOCK) and (BLOCKS == PART * PARTS)
    column = tl.program_id(1) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    part = tl.arange(0, PARTS)
    row = tl.arange(0, TILE_ROWS)
    held = (row < live - first)[None, None, :]
    lines = x + first.to(tl.int64) * X_PITCH + X_START
    right = lines + row[None, None, :] * X_PITCH
    r = tl.arange(0, SPAN)
    panel = (column // 64).to(tl.int64)
    begin = codes + panel * (BLOCKS * 64 * WORDS) + column % 64 * WORDS
    lane = tl.arange(0, 4)[:, None] * (WORDS // 4) + tl.arange(0, WORDS // 4)[None, :]
    left = begin[None, :, None, None] + lane[None, None, :, :]
    groups = (panel * (BLOCKS * BLOCK // GROUP * 64) + column % 64)[None, :, None]
    ones = tl.full((PARTS, 16, SPAN), 1.0, x.dtype.element_ty)
    total = tl.zeros((PARTS, TILE_COLUMNS, TILE_ROWS), tl.float32)
    for turn in range(PART):
        block = part * PART + turn
        there = block < BLOCKS
        words = load_where(
            left + block[:, None, None, None] * (64 * WORDS), there[:, None, None, None], EVEN
        )
        # [parts, rows, thread of 4, word] -> [parts, rows, word * 4 + thread]: the order of k.
        words = tl.permute(words, (0, 1, 3, 2))
        words = tl.reshape(words, (PARTS, TILE_COLUMNS, WORDS))
        for unit in tl.static_range(UNITS):  # type: ignore
            # A unit has one scale: sums over it, then one multiplication. Units ascend.
            product = tl.zeros((PARTS, TILE_COLUMNS, TILE_ROWS), tl.float32)
            added = tl.zeros((PARTS, 16, TILE_ROWS), tl.float32)
            for place in tl.static_range(unit * IN_UNIT, unit * IN_UNIT + IN_UNIT):  # type: ignore
                k = (block * BLOCK + place * SPAN)[:, None, None] + r[None, :, None]
                if EVEN:
                    b = tl.load(right + k, mask=held, other=0.0)
                else:
                    b = tl.load(right + k, mask=held & (k < DEPTH), other=0.0)
                product = add_products(product, words, b, place, BITS, RANGE, PRECISION)
                added = tl.dot(ones, b, added, input_precision=PRECISION)
            at = (block * BLOCK + unit * IN_UNIT * SPAN)[:, None, None] // GROUP * 64 + groups
            scale = load_where(scales + at, there[:, None, None], EVEN).to(tl.float32)
            zero = tl.full((1, 1, 1), RANGE // 2 + BASE, tl.float32)
            if ZEROS:
                zero = load_where(zeros + at, there[:, None, None], EVEN).to(tl.float32) + BASE
            # Every row of `added` is the same, and 16 of them add up to 16 times as much.
            inputs = tl.sum(added, 1)[:, None, :] * 0.0625  # type: ignore
            total += scale * (product - zero * inputs)
    result = tl.sum(total, 0)
    if NORM:
        result *= inverse_norms(squares, first, live, TILE_ROWS, SQUARES, NORM, EPS)[None, :]
    finish_rows(
        result,
        bias,
        residual,
        norm,
        y,
        scaled,
        sums,
        first,
        live,
        BIAS,
        SWIGLU,
        SCALE,
        COLUMNS,
        Y_PITCH,
        RESIDUAL_START,
        RESIDUAL_PITCH,
        SCALED,
        TILES,
        TILE_ROWS,
        TILE_COLUMNS,
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
    WORDS: tl.constexpr,
    GROUP: tl.constexpr,
    BITS: tl.constexpr,
    RANGE: tl.constexpr,
    ZEROS: tl.constexpr,
):
    """weight [rows, depth] = the values of whole panels; programs (panels, blocks)."""
    if tl.load(control + LIVE) == 0:
        return
    SPAN: tl.constexpr = 2 * WORDS
    BLOCK: tl.constexpr = SPAN * (16 // BITS)
    panel = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    row = tl.arange(0, 64)
    lane = tl.arange(0, 4)[None, :] * (WORDS // 4) + tl.arange(0, WORDS // 4)[:, None]
    lane = tl.reshape(lane, (WORDS,))
    at = (panel * BLOCKS + block) * (64 * WORDS)
    words = tl.load(codes + at + row[:, None] * WORDS + lane[None, :])
    r = tl.arange(0, SPAN)
    to = weight + (panel * 64 + row)[:, None] * (BLOCKS * BLOCK) + block * BLOCK + r[None, :]
    for place in tl.static_range(16 // BITS):  # type: ignore
        k = block * BLOCK + place * SPAN
        at = (panel * (BLOCKS * BLOCK // GROUP) + k // GROUP) * 64 + row
        scale, offset = group_values(scales, zeros, at, RANGE, ZEROS)
        low = (words >> (BITS * place)) & (RANGE - 1)
        high = (words >> (BITS * place + 16)) & (RANGE - 1)
        code = tl.reshape(tl.join(low, high), (64, SPAN))
        value = expand(code, scale[:, None], offset[:, None], BITS, RANGE)
        tl.store(to + place * SPAN, value.to(weight.dtype.element_ty))
