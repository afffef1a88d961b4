"""Rounding of activations on a GPU."""

from dataclasses import dataclass

import triton
import triton.language as tl

from sala_compile.codegen.kernels.arguments import Arguments
from sala_compile.codegen.kernels.cast.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.triton.family import GpuFamily
from sala_compile.codegen.kernels.triton.kernel import Launch
from sala_compile.codegen.kernels.triton.launches import constants_of, launch
from sala_compile.codegen.kernels.triton.rows import power_of_two, row_grid, warps_for
from sala_compile.codegen.layouts.padding import padded


@dataclass(frozen=True, slots=True)
class Schedule:
    """Columns that a program rounds at most."""

    block: int = 2048


@triton.jit
def convert(
    control,
    x,
    y,
    COLUMNS: tl.constexpr,
    X_START: tl.constexpr,
    X_PITCH: tl.constexpr,
    Y_PITCH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """y = x, padding 0; programs (tokens, parts of BLOCK columns)."""
    row = tl.program_id(0)
    if row >= tl.load(control):
        return
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    at = x + row.to(tl.int64) * X_PITCH + X_START + column
    value = tl.load(at, mask=column < COLUMNS, other=0.0).to(tl.float32)
    to = y + row.to(tl.int64) * Y_PITCH + column
    tl.store(to, value.to(y.dtype.element_ty), mask=column < Y_PITCH)


def launches(spec: Spec, schedule: Schedule, arguments: Arguments) -> tuple[Launch, ...]:
    """Programs (tokens, parts of a row)."""
    pitch = padded(spec.columns)
    block = min(power_of_two(pitch), schedule.block)
    constants = constants_of(spec, Y_PITCH=pitch, BLOCK=block)
    grid = row_grid(parts=-(-pitch // block))
    return (launch(convert, grid, arguments, constants, warps=warps_for(block)),)


FAMILY = GpuFamily(
    name="cast",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    launches=launches,
)
