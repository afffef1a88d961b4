"""y[t] = scale * weight[tokens[t]] on a GPU, the weight stored as integers in blocks."""

from collections.abc import Mapping
from dataclasses import dataclass

import triton
import triton.language as tl

from sala_compile.codegen.kernels.arguments import Arguments
from sala_compile.codegen.kernels.embedding_integers import spec as embedding
from sala_compile.codegen.kernels.embedding_integers.spec import Spec
from sala_compile.codegen.kernels.linear.gpu.arguments import block_arguments
from sala_compile.codegen.kernels.linear.gpu.constants import IntegerConstants
from sala_compile.codegen.kernels.linear.gpu.integer_products import (
    group_number,
    group_zero,
    high_words,
)
from sala_compile.codegen.kernels.triton.family import GpuFamily
from sala_compile.codegen.kernels.triton.kernel import Launch
from sala_compile.codegen.kernels.triton.launches import constants_of, launch
from sala_compile.codegen.kernels.triton.rows import power_of_two, row_grid, warps_for
from sala_compile.codegen.layouts.integer_blocks import PANEL_ROWS, IntegerBlocks
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.sala_ir.dialect.embedding import EmbeddingOp
from sala_compile.sala_ir.dialect.weight_storage import LayoutAttr


@dataclass(frozen=True, slots=True)
class Schedule:
    """Columns that a program expands at most."""

    block: int = 1024


def describe(op: EmbeddingOp, target: CudaTarget) -> Spec | str:
    """Take an embedding whose integers fit the blocks of linears."""
    spec = embedding.describe(op, target)
    return spec if isinstance(spec, str) else spec.stored(IntegerBlocks).refusal or spec


@triton.jit
def embed_integers(
    control,
    tokens,
    codes,
    scales,
    zeros,
    factors,
    y,
    SCALE: tl.constexpr,
    COLUMNS: tl.constexpr,
    PITCH: tl.constexpr,
    ZERO: tl.constexpr,
    PART: tl.constexpr,
    W: IntegerConstants,
):
    """y[t] = SCALE * weight[tokens[t]]; programs (tokens, parts of PART columns)."""
    row = tl.program_id(0)
    if row >= tl.load(control):
        return
    token = tl.load(tokens + row).to(tl.int64)
    panel, line = token // 64, (token % 64).to(tl.int32)
    column = tl.program_id(1) * PART + tl.arange(0, PART)
    inside = column < COLUMNS
    begin = codes + panel * (W.BLOCKS * W.STORED) + column // W.BLOCK * W.STORED
    place, pair = column % W.BLOCK // W.SPAN, column % W.SPAN // 2
    word = line * W.WORDS + pair % 4 * (W.WORDS // 4) + pair // 4
    half = column % 2
    code = tl.load(begin + word, mask=inside, other=0)
    code = (code >> (W.LOW * place + 16 * half)) & ((1 << W.LOW) - 1)
    if W.HIGH:
        high = tl.load(high_words(begin, W) + word, mask=inside, other=0).to(tl.int32)
        code |= ((high >> (W.HIGH * (place + 4 * half))) & ((1 << W.HIGH) - 1)) << 4
    group = column // W.GROUP
    zero = tl.full((PART,), ZERO, tl.float32)
    if W.ZEROS:
        zero = group_zero(zeros, panel, group, line, inside, False, W)  # type: ignore
    scale = group_number(scales, factors, panel, group, line, inside, 0, False, W)  # type: ignore
    value = (code.to(tl.float32) - zero) * scale
    if W.MINIMA:
        value += group_number(scales, factors, panel, group, line, inside, 1, False, W)  # type: ignore
    to = y + row.to(tl.int64) * PITCH + column
    tl.store(to, (value * SCALE).to(y.dtype.element_ty), mask=column < PITCH)


def arguments(spec: Spec, schedule: object = None) -> Arguments:
    """The arguments of a call."""
    return embedding.arguments(spec, block_arguments(spec.stored(IntegerBlocks)))


def launches(spec: Spec, schedule: Schedule, arguments: Arguments) -> tuple[Launch, ...]:
    """Programs (tokens, parts of a row)."""
    pitch, shapes = padded(spec.columns), spec.stored(IntegerBlocks)
    part = min(power_of_two(pitch), schedule.block)
    constants = constants_of(
        spec,
        PITCH=pitch,
        PART=part,
        ZERO=spec.zero,
        **IntegerConstants.of(shapes)._asdict(),
    )
    grid = row_grid(parts=-(-pitch // part))
    return (launch(embed_integers, grid, arguments, constants, warps=warps_for(part)),)


def layouts(spec: Spec) -> Mapping[str, LayoutAttr]:
    """The layout of integers."""
    return {"weight": LayoutAttr.block(PANEL_ROWS)}


FAMILY = GpuFamily(
    name="embedding_integers",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    launches=launches,
    layouts=layouts,
)
