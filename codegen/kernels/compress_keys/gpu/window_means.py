"""The Triton functions that average windows of keys."""

import triton
import triton.language as tl


@triton.jit
def average_windows(
    control,
    token_sequence,
    token_position,
    slots,
    page_table,
    compressed_table,
    k_pool,
    fine,
    coarse,
    table_columns,
    compressed_columns,
    KV_HEADS: tl.constexpr,
    BLOCK: tl.constexpr,
    D: tl.constexpr,
    STRIDE: tl.constexpr,
    FINE_PARTS: tl.constexpr,
    FINE_SLOTS: tl.constexpr,
    COARSE_PARTS: tl.constexpr,
    COARSE_SLOTS: tl.constexpr,
    TOKENS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write the windows that end among TOKENS tokens: programs (tiles, kv heads, levels).

    A window has so many PARTS, strides of the fine level, and begins half of them after the one
    before it. ROWS and COLUMNS are powers of two that hold STRIDE and D.
    """
    first = tl.program_id(0) * TOKENS
    head = tl.program_id(1)
    tokens = tl.load(control)
    if first >= tokens:
        return
    row = first + tl.arange(0, TOKENS)
    live = row < tokens
    length = tl.load(token_position + row, mask=live, other=-1) + 1
    slot = tl.load(slots + tl.load(token_sequence + row, mask=live, other=0), mask=live, other=0)
    if tl.program_id(2) == 0:
        _level(
            page_table,
            compressed_table,
            k_pool,
            fine,
            table_columns,
            compressed_columns,
            head,
            length,
            slot,
            KV_HEADS,
            BLOCK,
            D,
            STRIDE,
            FINE_PARTS,
            FINE_SLOTS,
            ROWS,
            COLUMNS,
        )
    else:
        _level(
            page_table,
            compressed_table,
            k_pool,
            coarse,
            table_columns,
            compressed_columns,
            head,
            length,
            slot,
            KV_HEADS,
            BLOCK,
            D,
            STRIDE,
            COARSE_PARTS,
            COARSE_SLOTS,
            ROWS,
            COLUMNS,
        )


@triton.jit
def _level(
    page_table,
    compressed_table,
    k_pool,
    pool,
    table_columns,
    compressed_columns,
    head,
    length,
    slot,
    KV_HEADS: tl.constexpr,
    BLOCK: tl.constexpr,
    D: tl.constexpr,
    STRIDE: tl.constexpr,
    PARTS: tl.constexpr,
    SLOTS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write the windows of a level that end with a token; `length` is 0 if there is none."""
    SPAN: tl.constexpr = PARTS // 2 * STRIDE
    ends = (length % SPAN == 0) & (length >= 2 * SPAN)
    order = tl.cumsum(ends.to(tl.int32), 0)
    column = tl.arange(0, COLUMNS)
    for turn in range(tl.sum(ends.to(tl.int32), 0)):  # type: ignore
        mine = ends & (order == turn + 1)
        end = tl.sum(tl.where(mine, length, 0), 0)
        sequence = tl.sum(tl.where(mine, slot, 0), 0).to(tl.int64)
        pages = page_table + sequence * table_columns
        mean = _mean(k_pool, pages, head, end, KV_HEADS, BLOCK, D, STRIDE, PARTS, ROWS, COLUMNS)
        place = end // SPAN - 1
        page = tl.load(compressed_table + sequence * compressed_columns + place // SLOTS)
        to = ((page.to(tl.int64) * KV_HEADS + head) * SLOTS + place % SLOTS) * D
        tl.store(pool + to + column, mean.to(pool.dtype.element_ty), mask=column < D)


@triton.jit
def _mean(
    k_pool,
    pages,
    head,
    end,
    KV_HEADS: tl.constexpr,
    BLOCK: tl.constexpr,
    D: tl.constexpr,
    STRIDE: tl.constexpr,
    PARTS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The mean of the PARTS strides of keys before token `end`; a stride lies in one page.

    Row i adds the tokens i, i + STRIDE, ... in this order, then the rows are folded.
    """
    row = tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    mask = (row < STRIDE)[:, None] & (column < D)[None, :]
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for part in tl.static_range(PARTS):  # type: ignore
        token = end + (part - PARTS) * STRIDE
        page = tl.load(pages + token // BLOCK).to(tl.int64)
        at = ((page * KV_HEADS + head) * BLOCK + token % BLOCK) * D
        keys = tl.load(k_pool + at + row[:, None] * D + column[None, :], mask=mask, other=0.0)
        total += keys.to(tl.float32)
    return tl.sum(total, 0) * (1.0 / (PARTS * STRIDE))
