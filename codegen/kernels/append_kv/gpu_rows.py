"""The Triton function that writes keys and values into their pages."""

import triton
import triton.language as tl


@triton.jit
def write_rows(
    control,
    token_sequence,
    token_position,
    slots,
    page_table,
    k,
    v,
    k_pool,
    v_pool,
    table_columns,
    KV_HEADS: tl.constexpr,
    BLOCK: tl.constexpr,
    D: tl.constexpr,
    K_START: tl.constexpr,
    K_PITCH: tl.constexpr,
    V_START: tl.constexpr,
    V_PITCH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Programs (tiles of ROWS tokens, kv heads); COLUMNS is a power of two that holds D."""
    first = tl.program_id(0) * ROWS
    head = tl.program_id(1)
    tokens = tl.load(control)
    if first >= tokens:
        return
    row = first + tl.arange(0, ROWS)
    live = row < tokens
    position = tl.load(token_position + row, mask=live, other=0)
    slot = tl.load(slots + tl.load(token_sequence + row, mask=live, other=0), mask=live, other=0)
    entry = slot.to(tl.int64) * table_columns + position // BLOCK
    page = tl.load(page_table + entry, mask=live, other=0).to(tl.int64)
    place = ((page * KV_HEADS + head) * BLOCK + position % BLOCK) * D
    column = tl.arange(0, COLUMNS)
    mask = live[:, None] & (column < D)[None, :]
    at = row.to(tl.int64)[:, None]
    key = tl.load(k + at * K_PITCH + K_START + head * D + column[None, :], mask=mask)
    value = tl.load(v + at * V_PITCH + V_START + head * D + column[None, :], mask=mask)
    to = place[:, None] + column[None, :]
    tl.store(k_pool + to, key.to(k_pool.dtype.element_ty), mask=mask)
    tl.store(v_pool + to, value.to(v_pool.dtype.element_ty), mask=mask)
