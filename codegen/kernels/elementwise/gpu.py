"""Gate, SwiGLU and residual sum as kernels of their own, on a GPU."""

from dataclasses import dataclass

import triton
import triton.language as tl

from sala_compile.codegen.kernels.arguments import Arguments
from sala_compile.codegen.kernels.elementwise.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.triton.family import GpuFamily
from sala_compile.codegen.kernels.triton.kernel import Launch
from sala_compile.codegen.kernels.triton.launches import constants_of, launch
from sala_compile.codegen.kernels.triton.rows import power_of_two, row_grid, warps_for
from sala_compile.codegen.kernels.triton.values import sigmoid, silu
from sala_compile.codegen.layouts.padding import padded


@dataclass(frozen=True, slots=True)
class Schedule:
    """Columns that a program computes at most."""

    block: int = 2048


@triton.jit
def combine(
    control,
    a,
    b,
    y,
    FUNCTION: tl.constexpr,
    SCALE: tl.constexpr,
    COLUMNS: tl.constexpr,
    A_START: tl.constexpr,
    A_PITCH: tl.constexpr,
    B_START: tl.constexpr,
    B_PITCH: tl.constexpr,
    Y_PITCH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """y = FUNCTION(a, b), padding 0; programs (tokens, parts of BLOCK columns)."""
    row = tl.program_id(0)
    if row >= tl.load(control):
        return
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    live = column < COLUMNS
    at = row.to(tl.int64)
    left = tl.load(a + at * A_PITCH + A_START + column, mask=live, other=0.0).to(tl.float32)
    right = tl.load(b + at * B_PITCH + B_START + column, mask=live, other=0.0).to(tl.float32)
    if FUNCTION == "output_gate":
        value = left * sigmoid(right)
    elif FUNCTION == "swiglu":
        value = silu(left) * right
    else:
        value = left + right * SCALE
    tl.store(y + at * Y_PITCH + column, value.to(y.dtype.element_ty), mask=column < Y_PITCH)


def launches(spec: Spec, schedule: Schedule, arguments: Arguments) -> tuple[Launch, ...]:
    """Programs (tokens, parts of a row)."""
    pitch = padded(spec.columns)
    block = min(power_of_two(pitch), schedule.block)
    constants = constants_of(spec, Y_PITCH=pitch, BLOCK=block)
    grid = row_grid(parts=-(-pitch // block))
    return (launch(combine, grid, arguments, constants, warps=warps_for(block)),)


FAMILY = GpuFamily(
    name="elementwise",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    launches=launches,
)
