"""append_kv on a GPU: one program for a tile of tokens and a kv head."""

from dataclasses import dataclass
from functools import partial

import triton
import triton.language as tl

from sala_compile.codegen.kernels.append_kv.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.arguments import Arguments
from sala_compile.codegen.kernels.triton.family import GpuFamily
from sala_compile.codegen.kernels.triton.kernel import ONE, Grid, Launch
from sala_compile.codegen.kernels.triton.launches import constants_of, launch


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tokens that a program takes."""

    rows: int = 16
    warps: int = 4


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


def launches(spec: Spec, schedule: Schedule, arguments: Arguments) -> tuple[Launch, ...]:
    """Programs (tiles of tokens, kv heads)."""
    constants = constants_of(
        spec,
        BLOCK=spec.block_size,
        D=spec.head_dim,
        ROWS=schedule.rows,
        COLUMNS=triton.next_power_of_2(spec.head_dim),
    )
    grid = (Grid(0, (("tokens", schedule.rows, 1),)), Grid(spec.kv_heads), ONE)
    return (launch(write_rows, grid, arguments, constants, warps=schedule.warps),)


FAMILY = GpuFamily(
    name="append_kv",
    spec=Spec,
    describe=describe,
    arguments=partial(arguments, packed=False),
    schedule=Schedule,
    launches=launches,
)
