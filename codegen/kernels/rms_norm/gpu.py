"""y = x / sqrt(mean(x^2) + eps) * weight over groups, then * sigmoid(gate), on a GPU."""

from dataclasses import dataclass

import triton
import triton.language as tl

from sala_compile.codegen.kernels.arguments import Arguments
from sala_compile.codegen.kernels.rms_norm import spec as norm
from sala_compile.codegen.kernels.rms_norm.spec import Spec, arguments
from sala_compile.codegen.kernels.triton.family import GpuFamily
from sala_compile.codegen.kernels.triton.kernel import Launch
from sala_compile.codegen.kernels.triton.launches import LIVE_WORD, constants_of, launch
from sala_compile.codegen.kernels.triton.rows import power_of_two, row_grid, warps_for
from sala_compile.codegen.kernels.triton.values import inverse_root, sigmoid, squared
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.sala_ir.dialect.norm import RmsNormOp

LONGEST = 32768
"""Columns of a group that one program holds in registers."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Values that a program normalises at a time, unless one group is larger."""

    tile: int = 2048


def describe(op: RmsNormOp, target: CudaTarget) -> Spec | str:
    """Take every norm whose weight is float32 and whose groups fit registers."""
    if op.group > LONGEST:
        return f"a group has {op.group} columns, more than {LONGEST}"
    return norm.describe(op, target)


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
    WEIGHTS: tl.constexpr,
    GROUPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Norm of GROUPS groups of GROUP columns; programs (rows, parts of a row).

    BLOCK is a power of two that holds GROUP; group i has the weights i % WEIGHTS. With GATHER,
    row i is made of x[rows[i]]. With GATE, row i is multiplied by the sigmoid of gate[i].
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
    if WEIGHTS > 1:
        scale = tl.load(weight + first % (WEIGHTS * GROUP) + lane, mask=live, other=0.0)
    else:
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


def launches(spec: Spec, schedule: Schedule, arguments: Arguments) -> tuple[Launch, ...]:
    """Programs (rows, parts of a row)."""
    block, count = power_of_two(spec.group), spec.columns // spec.group
    groups = min(power_of_two(count), max(block, schedule.tile) // block)
    live = "logit_rows" if spec.gather else "tokens"
    constants = constants_of(
        spec,
        LIVE=LIVE_WORD[live],
        GATE=bool(spec.gate_pitch),
        Y_PITCH=padded(spec.columns),
        GROUPS=groups,
        BLOCK=block,
    )
    grid = row_grid(live, parts=-(-count // groups))
    return (launch(norm_groups, grid, arguments, constants, warps=warps_for(groups * block)),)


FAMILY = GpuFamily(
    name="rms_norm",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    launches=launches,
)
