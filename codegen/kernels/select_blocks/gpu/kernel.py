"""select_blocks on a GPU: sums over coarse keys, scores of blocks, choice; slab by slab."""

from typing import Any

import triton

from sala_compile.codegen.kernels.arguments import Arguments, batch
from sala_compile.codegen.kernels.page_rows import CompressedLevel
from sala_compile.codegen.kernels.select_blocks import spec as select
from sala_compile.codegen.kernels.select_blocks.gpu.list_blocks import list_blocks
from sala_compile.codegen.kernels.select_blocks.gpu.score_blocks import score_blocks, sum_coarse
from sala_compile.codegen.kernels.select_blocks.gpu.spec import LARGEST_RATIO, Schedule, Spec
from sala_compile.codegen.kernels.triton.family import GpuFamily
from sala_compile.codegen.kernels.triton.head_limits import refuse_heads
from sala_compile.codegen.kernels.triton.kernel import (
    ONE,
    Constant,
    Extent,
    Grid,
    Slabs,
    SlabStart,
)
from sala_compile.codegen.kernels.triton.launches import constants_of, launch, pointer
from sala_compile.codegen.kernels.triton.phase import is_decode
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.sala_ir.dialect.stages import SelectBlocksOp


def describe(op: SelectBlocksOp, target: CudaTarget) -> Spec | str:
    """Take float32 queries, up to 32 heads a group, 128 columns a head, 64 strides a block."""
    fields = select.fields_of(op)
    if isinstance(fields, str):
        return fields
    spec = Spec(**fields, decode=is_decode(op))
    refusal = refuse_heads(op.heads.data)
    if refusal:
        return refusal
    if spec.ratio > LARGEST_RATIO:
        return f"blocks of {spec.ratio} strides pass {LARGEST_RATIO}"
    return spec


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call."""
    fields = ("offsets", "token_sequence", "token_position", "call_lengths", "slots")
    given = batch("control", *fields, "compressed_table")
    return select.arguments(spec, given, schedule.workspaces(spec), packed=False)


def launches(spec: Spec, schedule: Schedule, arguments: Arguments) -> tuple[Slabs, ...]:
    """For each slab: sums and scores, unless nothing is chosen by score; then the lists."""
    by_name = {each.name: each for each in arguments}
    others = {
        "slab": SlabStart(),
        "score_columns": Extent("scores", 1),
        "edge_columns": Extent("edges", 1),
    }
    fine, coarse = spec.levels
    terms = (("tokens", schedule.queries(spec), 1), ("sequences", 1, 1))
    tiles = (Grid(0, terms), Grid(spec.kv_heads), Grid(schedule.splits))
    options: dict[str, Any] = {"warps": schedule.warps, "stages": schedule.stages}
    scored = tuple(
        launch(
            function,
            tiles,
            arguments,
            _constants(spec, schedule, level),
            {**others, "pool": pointer(by_name[level.name])},
            **options,
        )
        for function, level in ((sum_coarse, coarse), (score_blocks, fine))
    )
    # The search compares scores as integers: floats that are not negative keep their order.
    integers = {name: pointer(by_name[name], element="i32") for name in ("scores", "edges")}
    choice = launch(
        list_blocks,
        (Grid(0, (("tokens", 1, 1),)), Grid(spec.kv_heads), ONE),
        arguments,
        _constants(spec, schedule, fine),
        others | integers,
        warps=schedule.search_warps,
    )
    return (Slabs("tokens", schedule.slab, (*(scored if spec.chosen else ()), choice)),)


def _constants(spec: Spec, schedule: Schedule, level: CompressedLevel) -> dict[str, Constant]:
    return constants_of(
        spec,
        GROUP=spec.group,
        D=spec.head_dim,
        BLOCK=spec.block_size,
        UNSCORED=spec.budget * spec.block_size,
        BUDGET=spec.budget,
        INITIAL=spec.init_blocks,
        WINDOW=spec.window_blocks,
        CHOSEN=spec.chosen,
        RATIO=spec.ratio,
        SPAN=level.stride,
        SLOTS=level.slots,
        KEYS=schedule.coarse_keys(spec),
        BLOCKS=schedule.blocks(spec),
        STEP=schedule.step(spec),
        SLAB=schedule.slab,
        QUERIES=schedule.queries(spec),
        HEADS=schedule.heads(spec),
        COLUMNS=max(16, triton.next_power_of_2(spec.head_dim)),
        SPLITS=schedule.splits,
        NARROW=schedule.narrow,
        MIDDLE=schedule.middle,
        WIDTH=schedule.width,
        LIST=triton.next_power_of_2(spec.budget),
        TIES=True,
    )


FAMILY = GpuFamily(
    name="select_blocks",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    tiles=Schedule.default,
    launches=launches,
)
