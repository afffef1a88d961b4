"""y[t] = scale * weight[tokens[t]] on a GPU, from a row-major matrix."""

from dataclasses import dataclass

import triton
import triton.language as tl

from sala_compile.codegen.kernels.arguments import Arguments
from sala_compile.codegen.kernels.embedding import spec as embedding
from sala_compile.codegen.kernels.embedding.spec import Spec, arguments
from sala_compile.codegen.kernels.triton.family import GpuFamily
from sala_compile.codegen.kernels.triton.kernel import Launch
from sala_compile.codegen.kernels.triton.launches import constants_of, launch
from sala_compile.codegen.kernels.triton.rows import power_of_two, row_grid, warps_for
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.sala_ir.dialect.embedding import EmbeddingOp


@dataclass(frozen=True, slots=True)
class Schedule:
    """Columns that a program copies at most."""

    block: int = 2048


def describe(op: EmbeddingOp, target: CudaTarget) -> Spec | str:
    """Take every embedding whose matrix no other kernel needs in panels."""
    spec = embedding.describe(op, target)
    if isinstance(spec, Spec) and spec.panel:
        return "the matrix is in the panels of another kernel"
    return spec


@triton.jit
def embed(
    control,
    tokens,
    weight,
    y,
    SCALE: tl.constexpr,
    COLUMNS: tl.constexpr,
    PITCH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """y[t] = SCALE * weight[tokens[t]]; programs (tokens, parts of BLOCK columns)."""
    row = tl.program_id(0)
    if row >= tl.load(control):
        return
    token = tl.load(tokens + row).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(weight + token * PITCH + column, mask=column < COLUMNS, other=0.0)
    value = value.to(tl.float32) * SCALE
    to = y + row.to(tl.int64) * PITCH + column
    tl.store(to, value.to(y.dtype.element_ty), mask=column < PITCH)


def launches(spec: Spec, schedule: Schedule, arguments: Arguments) -> tuple[Launch, ...]:
    """Programs (tokens, parts of a row)."""
    pitch = padded(spec.columns)
    block = min(power_of_two(pitch), schedule.block)
    constants = constants_of(spec, PITCH=pitch, BLOCK=block)
    grid = row_grid(parts=-(-pitch // block))
    return (launch(embed, grid, arguments, constants, warps=warps_for(block)),)


FAMILY = GpuFamily(
    name="embedding",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    launches=launches,
)
