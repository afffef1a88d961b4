"""The Triton function that averages windows of keys of the cache."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.compress_keys.gpu.windows import Windows, write_windows


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
    BLOCK: tl.constexpr,
    W: Windows,
):
    """Write the windows that end among TOKENS tokens: programs as of `write_windows`."""
    write_windows(
        _mean,
        (k_pool, page_table, table_columns, BLOCK),
        control,
        token_sequence,
        token_position,
        slots,
        compressed_table,
        compressed_columns,
        fine,
        coarse,
        W,
    )


@triton.jit
def _mean(keys, last, slot, head, end, W: Windows, PARTS: tl.constexpr):
    """The mean of the PARTS strides of keys before token `end`; a stride lies in one page.

    Row i adds the tokens i, i + STRIDE, ... in this order, then the rows are folded.
    """
    k_pool, page_table, table_columns, BLOCK = keys
    row = tl.arange(0, W.ROWS)
    column = tl.arange(0, W.COLUMNS)
    mask = (row < W.STRIDE)[:, None] & (column < W.D)[None, :]
    total = tl.zeros((W.ROWS, W.COLUMNS), tl.float32)
    for part in tl.static_range(PARTS):  # type: ignore
        token = end + (part - PARTS) * W.STRIDE
        page = tl.load(page_table + slot * table_columns + token // BLOCK).to(tl.int64)
        at = ((page * W.KV_HEADS + head) * BLOCK + token % BLOCK) * W.D
        found = tl.load(k_pool + at + row[:, None] * W.D + column[None, :], mask=mask, other=0.0)
        total += found.to(tl.float32)
    return tl.sum(total, 0) * (1.0 / (PARTS * W.STRIDE))
