"""Windows of keys that end with new tokens: which they are, and where their means go."""

from typing import Any, NamedTuple

import triton
import triton.language as tl

from sala_compile.codegen.kernels.compress_keys.spec import WindowSpec


class Windows(NamedTuple):
    """Sizes of keys and of the windows of both levels.

    A window has so many PARTS, strides of the fine level, and begins half of them after the one
    before it; SLOTS are in a page. A program looks at TOKENS tokens. ROWS and COLUMNS are powers of
    two that hold STRIDE and D.
    """

    KV_HEADS: Any
    D: Any
    STRIDE: Any
    FINE_PARTS: Any
    FINE_SLOTS: Any
    COARSE_PARTS: Any
    COARSE_SLOTS: Any
    TOKENS: Any
    ROWS: Any
    COLUMNS: Any


def window_constants(spec: WindowSpec, tokens: int) -> dict[str, int]:
    """The constants of Windows that are no fields of the spec."""
    fine, coarse = spec.levels
    return {
        "D": spec.head_dim,
        "STRIDE": spec.kernel_stride,
        "FINE_PARTS": fine.size // spec.kernel_stride,
        "FINE_SLOTS": fine.slots,
        "COARSE_PARTS": coarse.size // spec.kernel_stride,
        "COARSE_SLOTS": coarse.slots,
        "TOKENS": tokens,
        "ROWS": triton.next_power_of_2(spec.kernel_stride),
        "COLUMNS": triton.next_power_of_2(spec.head_dim),
    }


@triton.jit
def write_windows(
    mean,
    keys,
    control,
    token_sequence,
    token_position,
    slots,
    compressed_table,
    compressed_columns,
    fine,
    coarse,
    W: Windows,
):
    """Write the windows that end among TOKENS tokens: programs (tiles, kv heads, levels).

    `mean(keys, row, slot, head, end, W, PARTS)` is that of the PARTS strides of keys before token
    `end` of the sequence in `slot`; the last of them is in `row` of the step.
    """
    row = tl.program_id(0) * W.TOKENS + tl.arange(0, W.TOKENS)
    live = row < tl.load(control)
    length = tl.load(token_position + row, mask=live, other=-1) + 1
    slot = tl.load(slots + tl.load(token_sequence + row, mask=live, other=0), mask=live, other=0)
    tokens, table = (row, length, slot), (compressed_table, compressed_columns)
    if tl.program_id(2) == 0:
        _level(mean, keys, tokens, table, fine, W, W.FINE_PARTS, W.FINE_SLOTS)
    else:
        _level(mean, keys, tokens, table, coarse, W, W.COARSE_PARTS, W.COARSE_SLOTS)


@triton.jit
def _level(
    mean,
    keys,
    tokens,
    table,
    pool,
    W: Windows,
    PARTS: tl.constexpr,
    SLOTS: tl.constexpr,
):
    """Write the windows of a level in turn; the length is 0 where there is no token."""
    row, length, slot = tokens
    compressed_table, compressed_columns = table
    head = tl.program_id(1)
    column = tl.arange(0, W.COLUMNS)
    SPAN: tl.constexpr = PARTS // 2 * W.STRIDE
    ends = (length % SPAN == 0) & (length >= 2 * SPAN)
    order = tl.cumsum(ends.to(tl.int32), 0)
    for turn in range(tl.sum(ends.to(tl.int32), 0)):  # type: ignore
        mine = ends & (order == turn + 1)
        end = tl.sum(tl.where(mine, length, 0), 0)
        last = tl.sum(tl.where(mine, row, 0), 0)
        sequence = tl.sum(tl.where(mine, slot, 0), 0).to(tl.int64)
        value = mean(keys, last, sequence, head, end, W, PARTS)
        place = end // SPAN - 1
        page = tl.load(compressed_table + sequence * compressed_columns + place // SLOTS)
        to = ((page.to(tl.int64) * W.KV_HEADS + head) * SLOTS + place % SLOTS) * W.D
        tl.store(pool + to + column, value.to(pool.dtype.element_ty), mask=column < W.D)
