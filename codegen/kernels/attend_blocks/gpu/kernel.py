"""attend_blocks on a GPU: tiles of queries over union lists or all of the past; split decode."""

from typing import Any

import triton

from sala_compile.codegen.kernels.arguments import Arguments
from sala_compile.codegen.kernels.attend_blocks import spec as attend
from sala_compile.codegen.kernels.attend_blocks.gpu.prefill_tiles import (
    attend_past,
    attend_union,
    merge_lists,
)
from sala_compile.codegen.kernels.attend_blocks.gpu.spec import Schedule, Spec
from sala_compile.codegen.kernels.attend_blocks.gpu.split_decode import (
    attend_split,
    combine_splits,
)
from sala_compile.codegen.kernels.triton.family import GpuFamily
from sala_compile.codegen.kernels.triton.head_limits import refuse_heads
from sala_compile.codegen.kernels.triton.kernel import ONE, Constant, Grid, Launch
from sala_compile.codegen.kernels.triton.launches import constants_of, launch
from sala_compile.codegen.kernels.triton.phase import is_decode
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.sala_ir.dialect.stages import AttendBlocksOp


def describe(op: AttendBlocksOp, target: CudaTarget) -> Spec | str:
    """Take float32 queries and gate, up to 32 heads a group and 128 columns a head."""
    fields = attend.fields_of(op)
    if isinstance(fields, str):
        return fields
    return refuse_heads(op.heads.data) or Spec(**fields, decode=is_decode(op))


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call."""
    return attend.arguments(spec, schedule.workspaces(spec), packed=False)


def launches(spec: Spec, schedule: Schedule, arguments: Arguments) -> tuple[Launch, ...]:
    """Decode: splits, then their sum. Prefill: tiles over union lists, and over all of the past."""
    known = _constants(spec, schedule)
    options: dict[str, Any] = {"warps": schedule.warps, "stages": schedule.stages}
    heads = Grid(spec.kv_heads)
    if spec.decode:
        tokens = Grid(0, (("tokens", 1, 1),))
        split, heads = (tokens, heads, Grid(schedule.splits)), Grid(spec.num_heads)
        # Threads that share a sum store it to one place: it has the same bits in each of them only
        # if no product enters it unrounded.
        warps = max(4, schedule.splits // 8)
        exact: dict[str, Any] = {"warps": warps, "fusion": False}
        return (
            launch(attend_split, split, arguments, known, **options),
            launch(combine_splits, (tokens, heads, ONE), arguments, known, **exact),
        )
    terms = (("tokens", schedule.queries(spec), 1), ("sequences", 1, 1))
    tiles = (Grid(0, terms), heads, ONE)
    past = launch(attend_past, tiles, arguments, known, **options)
    if not spec.budget:
        return (past,)
    return (
        launch(merge_lists, tiles, arguments, known, warps=4),
        launch(attend_union, tiles, arguments, known, **options),
        past,
    )


def _constants(spec: Spec, schedule: Schedule) -> dict[str, Constant]:
    return constants_of(
        spec,
        LISTS=bool(spec.budget),
        GROUP=spec.group,
        BLOCK=spec.block_size,
        D=spec.head_dim,
        OUT_PITCH=padded(spec.num_heads * spec.head_dim),
        QUERIES=schedule.queries(spec),
        HEADS=schedule.heads(spec),
        TOKENS=max(16, triton.next_power_of_2(spec.block_size)),
        COLUMNS=max(16, triton.next_power_of_2(spec.head_dim)),
        LIST=triton.next_power_of_2(max(1, spec.budget)),
        SPLITS=schedule.splits,
    )


FAMILY = GpuFamily(
    name="attend_blocks",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    tiles=Schedule.fitting,
    launches=launches,
)
