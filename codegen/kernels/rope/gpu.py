"""Rotation of dimension i of every head with dimension i + R/2, on a GPU."""

from dataclasses import dataclass

import triton
import triton.language as tl

from sala_compile.codegen.kernels.arguments import Arguments
from sala_compile.codegen.kernels.rope.spec import Spec, arguments
from sala_compile.codegen.kernels.rope.spec import describe as describe_any
from sala_compile.codegen.kernels.triton.family import GpuFamily
from sala_compile.codegen.kernels.triton.kernel import Launch
from sala_compile.codegen.kernels.triton.launches import constants_of, launch
from sala_compile.codegen.kernels.triton.rows import power_of_two, row_grid, warps_for
from sala_compile.codegen.kernels.triton.values import inverse_root, squared
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.rope import RopeOp


def describe(op: RopeOp, target: object) -> Spec | str:
    """Take what any target takes, but pairs of halves from the first dimension of a head on."""
    if op.start.value.data or op.interleaved.value.data:
        return "a GPU rotates the first dimensions of a head, in halves"
    return describe_any(op, target)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Pairs of values that a program rotates at most."""

    pairs: int = 1024


@triton.jit
def rotate_heads(
    control,
    x,
    table,
    norm,
    y,
    COLUMNS: tl.constexpr,
    HEAD: tl.constexpr,
    NORM: tl.constexpr,
    EPS: tl.constexpr,
    HALF: tl.constexpr,
    X_START: tl.constexpr,
    X_PITCH: tl.constexpr,
    TABLE_PITCH: tl.constexpr,
    Y_PITCH: tl.constexpr,
    HEADS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Rotate the first 2 * HALF dimensions of HEADS heads of a row, copy the others.

    With NORM, every head is normalised first, by the HEAD weights of `norm`.
    Programs (tokens, parts of a row); BLOCK holds HALF values and what is copied of a head.
    """
    row = tl.program_id(0)
    if row >= tl.load(control):
        return
    at = row.to(tl.int64)
    lane = tl.arange(0, BLOCK)[None, :]
    first = (tl.program_id(1) * HEADS + tl.arange(0, HEADS)[:, None]) * HEAD
    live = (lane < HALF) & (first < COLUMNS)
    cos = tl.load(table + at * TABLE_PITCH + lane, mask=lane < HALF, other=0.0)
    sin = tl.load(table + at * TABLE_PITCH + HALF + lane, mask=lane < HALF, other=0.0)
    source = x + at * X_PITCH + X_START + first + lane
    low = tl.load(source, mask=live, other=0.0).to(tl.float32)
    high = tl.load(source + HALF, mask=live, other=0.0).to(tl.float32)
    copied = (2 * HALF + lane < HEAD) & (first < COLUMNS)
    rest = tl.load(source + 2 * HALF, mask=copied, other=0.0).to(tl.float32)
    if NORM:
        squares = tl.sum(squared(low), 1) + tl.sum(squared(high), 1) + tl.sum(squared(rest), 1)
        factor = inverse_root(squares, HEAD, EPS)[:, None]
        low = low * factor * tl.load(norm + lane, mask=lane < HALF, other=0.0)
        high = high * factor * tl.load(norm + HALF + lane, mask=lane < HALF, other=0.0)
        last = tl.load(norm + 2 * HALF + lane, mask=2 * HALF + lane < HEAD, other=0.0)
        rest = rest * factor * last
    to = y + at * Y_PITCH
    kind = y.dtype.element_ty
    tl.store(to + first + lane, (low * cos - high * sin).to(kind), mask=live)
    tl.store(to + first + HALF + lane, (high * cos + low * sin).to(kind), mask=live)
    if 2 * HALF < HEAD:
        tl.store(to + first + 2 * HALF + lane, rest.to(kind), mask=copied)
    if COLUMNS < Y_PITCH:
        padding = COLUMNS + tl.arange(0, 16)
        inside = padding < tl.where(tl.program_id(1) == 0, Y_PITCH, 0)
        tl.store(to + padding, tl.zeros((16,), kind), mask=inside)


def launches(spec: Spec, schedule: Schedule, arguments: Arguments) -> tuple[Launch, ...]:
    """Programs (tokens, parts of a row)."""
    count = spec.columns // spec.head_dim
    block = power_of_two(max(spec.rotated // 2, spec.head_dim - spec.rotated))
    heads = min(power_of_two(count), max(1, schedule.pairs // block))
    constants = constants_of(
        spec,
        HEAD=spec.head_dim,
        HALF=spec.rotated // 2,
        TABLE_PITCH=padded(spec.rotated),
        Y_PITCH=padded(spec.columns),
        HEADS=heads,
        BLOCK=block,
    )
    grid = row_grid(parts=-(-count // heads))
    warps = warps_for(2 * heads * block)
    return (launch(rotate_heads, grid, arguments, constants, warps=warps),)


FAMILY = GpuFamily(
    name="rope",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    launches=launches,
)
