"""The Triton functions of linears with integer weights; layouts.integer_blocks has the layout."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.linear.gpu.constants import IntegerConstants, RowConstants
from sala_compile.codegen.kernels.linear.gpu.epilogue import finish_rows
from sala_compile.codegen.kernels.linear.gpu.split_norm import inverse_norms


@triton.jit
def expand(code, scale, base, BITS: tl.constexpr):
    """scale * (i - zero) of codes; base = 2^BITS + zero.

    The code goes into the mantissa of 2^BITS: a float without a conversion, which is slow.
    Difference and product have at most 24 bits, so nothing is rounded.
    """
    # 2^BITS * (1 + code / 2^BITS) = RANGE + code.
    number = (code << (23 - BITS)) | ((127 + BITS) << 23)
    return (number.to(tl.float32, bitcast=True) - base) * scale


@triton.jit
def load_where(at, there, EVERYWHERE: tl.constexpr):
    """Values where they are, 0 elsewhere."""
    return tl.load(at) if EVERYWHERE else tl.load(at, mask=there, other=0)


@triton.jit
def group_number(
    scales,
    factors,
    panel,
    group,
    row,
    there,
    ENTRY: tl.constexpr,
    EVERYWHERE: tl.constexpr,
    W: IntegerConstants,
):
    """The scale (ENTRY 1: the minimum) of groups of some rows of panels; 0 where not `there`."""
    ENTRIES: tl.constexpr = 2 if W.MINIMA else 1  # type: ignore
    SCALED: tl.constexpr = W.SUPER if W.SUPER else W.GROUP
    wide = panel * (W.BLOCKS * W.BLOCK // SCALED) + group // (SCALED // W.GROUP)
    number = load_where(scales + (wide * ENTRIES + ENTRY) * 64 + row, there, EVERYWHERE)  # type: ignore
    number = number.to(tl.float32)
    if W.SUPER:
        # 11 bits by 8: no product is rounded.
        place = panel * (W.BLOCKS * W.BLOCK // W.GROUP) + group
        factor = load_where(factors + (place * ENTRIES + ENTRY) * 64 + row, there, EVERYWHERE)  # type: ignore
        number = number * factor.to(tl.float32)
    return number


@triton.jit
def group_zero(zeros, panel, group, row, there, EVERYWHERE: tl.constexpr, W: IntegerConstants):
    """The stored zero of groups of some rows of panels."""
    at = (panel * (W.BLOCKS * W.BLOCK // W.GROUP) + group) * 64 + row
    return load_where(zeros + at, there, EVERYWHERE).to(tl.float32)


@triton.jit
def high_words(begin, W: IntegerConstants):
    """Where the high bits of blocks that begin somewhere are: 8 or 16 for a word."""
    kind: tl.constexpr = tl.int8 if W.HIGH == 1 else tl.int16  # type: ignore
    return (begin + 64 * W.WORDS).to(tl.pointer_type(kind))  # type: ignore


@triton.jit
def spread_high(stored, HIGH: tl.constexpr):
    """High bits of both halves of a word, as they are stored, where `codes` adds them: from bit 4
    of each half on.
    """
    bits = stored.to(tl.int32)
    low = bits & ((1 << 4 * HIGH) - 1)  # type: ignore
    high = (bits >> 4 * HIGH) & ((1 << 4 * HIGH) - 1)  # type: ignore
    return (low | high << 16) << 4


@triton.jit
def pair_codes(words, high, place: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr):
    """The codes at a place of the words, in the low bits of both halves."""
    code = (words >> (LOW * place)) & ((1 << LOW) - 1) * 0x00010001  # type: ignore
    if HIGH:
        code = code | ((high >> (HIGH * place)) & ((1 << HIGH) - 1) * 0x00100010)  # type: ignore
    return code


@triton.jit
def in_order(words):
    """[parts, rows, thread of 4, word] -> [parts, rows, word * 4 + thread]: the order of k."""
    swapped = tl.permute(words, (0, 1, 3, 2))
    return tl.reshape(swapped, (words.shape[0], words.shape[1], 4 * words.shape[3]))


@triton.jit
def side_by_side(low, high):
    """Values of low and of high halves of words in turn."""
    return tl.reshape(tl.join(low, high), (low.shape[0], low.shape[1], 2 * low.shape[2]))


@triton.jit
def in_mantissas(codes, magic: tl.constexpr):
    """Pairs of codes as pairs of bf16, side by side: no conversion.

    They are the last bits of the mantissa: with 0x4300 of 128 + i, with 0x4500 of 2048 + 16 i.
    """
    # The mask of `pair_codes` and this are one three-input operation (lop3) for two values.
    pair = codes | (magic << 16 | magic)
    low = pair.to(tl.int16).to(tl.bfloat16, bitcast=True)
    high = (pair >> 16).to(tl.int16).to(tl.bfloat16, bitcast=True)
    return side_by_side(low, high)


@triton.jit
def add_products(
    product,
    words,
    high,
    b,
    place: tl.constexpr,
    PRECISION: tl.constexpr,
    W: IntegerConstants,
):
    """The sums with those over the columns at a place of the words; bytes are two nibbles."""
    if b.dtype != tl.bfloat16:
        pair = pair_codes(words, high, place, W.LOW, W.HIGH)  # type: ignore
        a = side_by_side((pair & 0xFFFF).to(tl.float32), (pair >> 16).to(tl.float32))
        product = tl.dot(a, b, product, input_precision=PRECISION)
    elif W.LOW == 8:
        low = pair_codes(words, high, 2 * place, 4, 0)  # type: ignore
        product = tl.dot(in_mantissas(low, 0x4300), b, product)  # type: ignore
        top = pair_codes(words, high, 2 * place + 1, 4, 0)  # type: ignore
        product = tl.dot(in_mantissas(top, 0x4500), b, product)  # type: ignore
    else:
        pair = pair_codes(words, high, place, W.LOW, W.HIGH)  # type: ignore
        product = tl.dot(in_mantissas(pair, 0x4300), b, product)  # type: ignore
    return product


@triton.jit
def multiply_rows_by_integers(
    control,
    x,
    codes,
    scales,
    zeros,
    factors,
    squares,
    bias,
    residual,
    norm,
    y,
    scaled,
    sums,
    C: RowConstants,
    W: IntegerConstants,
):
    """The same as `multiply_rows`; a part of the depth has PART blocks of the layout.

    x is multiplied by the codes, and the sums of a group by its scale: values are not rounded. In
    bf16 the codes are in mantissas, and their offset times the sum of x, which products with ones
    give, is subtracted. Minima are multiplied by that sum too.
    """
    first = tl.program_id(0) * C.TILE_ROWS
    live = tl.load(control + C.LIVE)
    if first >= live:
        return
    PLACES: tl.constexpr = 16 // W.LOW
    UNITS: tl.constexpr = max(1, W.BLOCK // W.GROUP)  # type: ignore
    IN_UNIT: tl.constexpr = PLACES // UNITS
    PAIRS: tl.constexpr = x.dtype.element_ty == tl.bfloat16
    BASE: tl.constexpr = (2176 if W.BITS == 8 else 128) if PAIRS else 0  # type: ignore
    EVEN: tl.constexpr = (C.DEPTH == W.BLOCKS * W.BLOCK) and (W.BLOCKS == C.PART * C.PARTS)
    column = tl.program_id(1) * C.TILE_COLUMNS + tl.arange(0, C.TILE_COLUMNS)
    part = tl.arange(0, C.PARTS)
    row = tl.arange(0, C.TILE_ROWS)
    held = (row < live - first)[None, None, :]
    lines = x + first.to(tl.int64) * C.X_PITCH + C.X_START
    right = lines + row[None, None, :] * C.X_PITCH
    r = tl.arange(0, W.SPAN)
    panel = (column // 64).to(tl.int64)
    begin = codes + panel * (W.BLOCKS * W.STORED)
    lane = tl.arange(0, 4)[:, None] * (W.WORDS // 4) + tl.arange(0, W.WORDS // 4)[None, :]
    inside = (column % 64 * W.WORDS)[None, :, None, None] + lane[None, None, :, :]
    left = begin[None, :, None, None] + inside
    ones = tl.full((C.PARTS, 16, W.SPAN), 1.0, x.dtype.element_ty)
    total = tl.zeros((C.PARTS, C.TILE_COLUMNS, C.TILE_ROWS), tl.float32)
    for turn in range(C.PART):
        block = part * C.PART + turn
        there = block < W.BLOCKS
        at = block[:, None, None, None] * W.STORED
        words = in_order(load_where(left + at, there[:, None, None, None], EVEN))
        high = words
        if W.HIGH:
            behind = high_words(begin[None, :, None, None] + at, W) + inside
            high = in_order(load_where(behind, there[:, None, None, None], EVEN))
            high = spread_high(high, W.HIGH)
        for unit in tl.static_range(UNITS):  # type: ignore
            # A unit has one scale: sums over it, then one multiplication. Units ascend.
            product = tl.zeros((C.PARTS, C.TILE_COLUMNS, C.TILE_ROWS), tl.float32)
            added = tl.zeros((C.PARTS, 16, C.TILE_ROWS), tl.float32)
            for place in tl.static_range(unit * IN_UNIT, unit * IN_UNIT + IN_UNIT):  # type: ignore
                k = (block * W.BLOCK + place * W.SPAN)[:, None, None] + r[None, :, None]
                if EVEN:
                    b = tl.load(right + k, mask=held, other=0.0)
                else:
                    b = tl.load(right + k, mask=held & (k < C.DEPTH), other=0.0)
                product = add_products(product, words, high, b, place, C.PRECISION, W)
                added = tl.dot(ones, b, added, input_precision=C.PRECISION)
            group = ((block * W.BLOCK + unit * IN_UNIT * W.SPAN) // W.GROUP)[:, None, None]
            beside, side = panel[None, :, None], (column % 64)[None, :, None]
            inner = there[:, None, None]
            scale = group_number(scales, factors, beside, group, side, inner, 0, EVEN, W)  # type: ignore
            zero = tl.full((1, 1, 1), (0 if W.MINIMA else 1 << (W.BITS - 1)) + BASE, tl.float32)
            if W.ZEROS:
                zero = group_zero(zeros, beside, group, side, inner, EVEN, W) + BASE
            # Every row of `added` is the same, and 16 of them add up to 16 times as much.
            inputs = tl.sum(added, 1)[:, None, :] * 0.0625  # type: ignore
            total += scale * (product - zero * inputs)
            if W.MINIMA:
                minimum = group_number(scales, factors, beside, group, side, inner, 1, EVEN, W)  # type: ignore
                total += minimum * inputs
    result = tl.sum(total, 0)
    if C.NORM:
        result *= inverse_norms(squares, first, live, C)[None, :]
    finish_rows(result, bias, residual, norm, y, scaled, sums, first, live, C)


@triton.jit
def expand_panels(
    control, codes, scales, zeros, factors, weight, LIVE: tl.constexpr, W: IntegerConstants
):
    """weight [rows, depth] = the values of whole panels; programs (panels, blocks)."""
    if tl.load(control + LIVE) == 0:
        return
    panel = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    row = tl.arange(0, 64)
    lane = tl.arange(0, 4)[None, :] * (W.WORDS // 4) + tl.arange(0, W.WORDS // 4)[:, None]
    lane = tl.reshape(lane, (W.WORDS,))
    begin = codes + (panel * W.BLOCKS + block) * W.STORED
    inside = row[:, None] * W.WORDS + lane[None, :]
    words = tl.load(begin + inside)
    high = words
    if W.HIGH:
        high = spread_high(tl.load(high_words(begin, W) + inside), W.HIGH)
    r = tl.arange(0, W.SPAN)
    to = weight + (panel * 64 + row)[:, None] * (W.BLOCKS * W.BLOCK) + block * W.BLOCK + r[None, :]
    for place in tl.static_range(16 // W.LOW):  # type: ignore
        group = (block * W.BLOCK + place * W.SPAN) // W.GROUP
        scale = group_number(scales, factors, panel, group, row, True, 0, True, W)  # type: ignore
        zero = tl.full((64,), 0 if W.MINIMA else 1 << (W.BITS - 1), tl.float32)
        if W.ZEROS:
            zero = group_zero(zeros, panel, group, row, True, True, W)  # type: ignore
        pair = pair_codes(words, high, place, W.LOW, W.HIGH)  # type: ignore
        code = tl.reshape(tl.join(pair & 0xFFFF, pair >> 16), (64, W.SPAN))
        value = expand(code, scale[:, None], (zero + (1 << W.BITS))[:, None], W.BITS)
        if W.MINIMA:
            value += group_number(scales, factors, panel, group, row, True, 1, True, W)[:, None]  # type: ignore
        tl.store(to + place * W.SPAN, value.to(weight.dtype.element_ty))
