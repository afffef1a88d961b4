"""select_blocks on a GPU: sums over coarse keys, scores of blocks, choice; slab by slab."""

from typing import Any

import triton

from sala_compile.codegen.kernels.operands import (
    column_views,
    element,
    indices_of,
    refuse_unless_float32,
    spec_values,
)
from sala_compile.codegen.kernels.select_blocks.gpu.list_blocks import list_blocks
from sala_compile.codegen.kernels.select_blocks.gpu.score_blocks import score_blocks, sum_coarse
from sala_compile.codegen.kernels.select_blocks.gpu.spec import LARGEST_RATIO, Schedule, Spec
from sala_compile.codegen.kernels.triton.buffers import pointee
from sala_compile.codegen.kernels.triton.cache import (
    batch_arguments,
    batch_names,
    batch_parameters,
    level_parameters,
    refuse_heads,
)
from sala_compile.codegen.kernels.triton.kernel import (
    ONE,
    Extent,
    GpuKernel,
    Grid,
    Launch,
    Parameter,
    Pointer,
    Slabs,
    SlabStart,
)
from sala_compile.codegen.kernels.triton.phase import is_decode
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.sala_ir.dialect.stages import SelectBlocksOp

__all__ = ["Schedule", "Spec", "build", "rule"]

FIELDS = (
    "control",
    "offsets",
    "token_sequence",
    "token_position",
    "call_lengths",
    "slots",
    "compressed_table",
)
TILE_FIELDS = tuple(name for name in FIELDS if name != "token_sequence")
TOKEN_FIELDS = ("control", "token_sequence", "token_position", "call_lengths")


def rule(op: SelectBlocksOp, target: CudaTarget) -> KernelChoice | str:
    """Take float32 queries, up to 32 heads a group, 128 columns a head, 64 strides a block."""
    refusal = refuse_unless_float32(q=op.q) or refuse_heads(op.heads.data)
    if refusal:
        return refusal
    ratio = op.selection.data.block_size // op.selection.data.kernel_stride
    if ratio > LARGEST_RATIO:
        return f"blocks of {ratio} strides pass {LARGEST_RATIO}"
    spec = Spec(
        **op.parameters,
        element=element(op.ck),
        **column_views(q=op.q),
        decode=is_decode(op),
    )
    return KernelChoice(
        symbol=spec.symbol,
        family="select_blocks",
        spec=spec_values(spec),
        operands=indices_of(op.operands, op.q, op.ck),
        arguments=(
            *batch_names(*FIELDS),
            "in:0",
            "in:1.fine",
            "in:1.coarse",
            "out:0",
            "out:1",
            "workspace:0",
            "workspace:1",
            "workspace:2",
        ),
        workspaces=Schedule.default(spec).workspaces(spec),
    )


def build(spec: Spec, target: CudaTarget, schedule: Schedule | None = None) -> GpuKernel:
    """The kernel; its parameters are the `arguments` of `rule`, in that order."""
    schedule = schedule or Schedule.default(spec)
    scored = (_sums(spec, schedule), _scores(spec, schedule)) if spec.chosen else ()
    return GpuKernel(
        spec.symbol,
        (
            *batch_parameters(*FIELDS),
            Parameter("q", "float32", ("q_rows", spec.q_pitch)),
            *level_parameters(spec.levels, spec.kv_heads, spec.head_dim, spec.element),
            Parameter("blocks", "int32", ("block_rows", spec.kv_heads, spec.budget)),
            Parameter("counts", "int32", ("count_rows", spec.kv_heads)),
            Parameter("sums", "float32", ("workers", "sum_columns")),
            Parameter("scores", "float32", ("workers", "score_columns")),
            Parameter("edges", "float32", ("workers", "edge_columns")),
        ),
        (Slabs("tokens", schedule.slab, (*scored, _choice(spec, schedule))),),
    )


def _sums(spec: Spec, schedule: Schedule) -> Launch:
    _, coarse = spec.levels
    constants = {"SPAN": coarse.stride, "SLOTS": coarse.slots}
    return Launch(
        sum_coarse,
        _tiles(spec, schedule),
        _tile_arguments("coarse", spec),
        _tile_constants(spec, schedule) | constants | {"KEYS": schedule.coarse_keys(spec)},
        schedule.warps,
        schedule.stages,
    )


def _scores(spec: Spec, schedule: Schedule) -> Launch:
    fine, _ = spec.levels
    constants = {
        "SPAN": fine.stride,
        "SLOTS": fine.slots,
        "BLOCKS": schedule.blocks(spec),
        "RATIO": spec.ratio,
        "STEP": schedule.step(spec),
        "WINDOW": spec.window_blocks,
    }
    return Launch(
        score_blocks,
        _tiles(spec, schedule),
        _tile_arguments("fine", spec) | _score_arguments("fp32"),
        _tile_constants(spec, schedule) | constants,
        schedule.warps,
        schedule.stages,
    )


def _choice(spec: Spec, schedule: Schedule) -> Launch:
    outputs = {name: Pointer(name, "i32") for name in ("blocks", "counts")}
    return Launch(
        list_blocks,
        (Grid(0, (("tokens", 1, 1),)), Grid(spec.kv_heads), ONE),
        batch_arguments(*TOKEN_FIELDS) | _score_arguments("i32") | outputs | {"slab": SlabStart()},
        {
            "KV_HEADS": spec.kv_heads,
            "DENSE_LEN": spec.dense_len,
            "BLOCK": spec.block_size,
            "BUDGET": spec.budget,
            "INITIAL": spec.init_blocks,
            "WINDOW": spec.window_blocks,
            "CHOSEN": spec.chosen,
            "SLAB": schedule.slab,
            "TILE": schedule.blocks(spec),
            "NARROW": schedule.narrow,
            "MIDDLE": schedule.middle,
            "WIDTH": schedule.width,
            "LIST": triton.next_power_of_2(spec.budget),
        },
        schedule.search_warps,
    )


def _tiles(spec: Spec, schedule: Schedule) -> tuple[Grid, Grid, Grid]:
    terms = (("tokens", schedule.queries(spec), 1), ("sequences", 1, 1))
    return Grid(0, terms), Grid(spec.kv_heads), Grid(schedule.splits)


def _tile_arguments(pool: str, spec: Spec) -> dict[str, Any]:
    return {
        **batch_arguments(*TILE_FIELDS),
        "q": Pointer("q", "fp32"),
        "pool": Pointer(pool, pointee(spec.element)),
        "sums": Pointer("sums", "fp32"),
        "slab": SlabStart(),
    }


def _score_arguments(kind: str) -> dict[str, Any]:
    return {
        "scores": Pointer("scores", kind),
        "edges": Pointer("edges", kind),
        "score_columns": Extent("scores", 1),
        "edge_columns": Extent("edges", 1),
    }


def _tile_constants(spec: Spec, schedule: Schedule) -> dict[str, Any]:
    return {
        "KV_HEADS": spec.kv_heads,
        "GROUP": spec.group,
        "D": spec.head_dim,
        "Q_START": spec.q_start,
        "Q_PITCH": spec.q_pitch,
        "SCALE": spec.scale,
        "DENSE_LEN": spec.dense_len,
        "UNSCORED": spec.budget * spec.block_size,
        "SLAB": schedule.slab,
        "QUERIES": schedule.queries(spec),
        "HEADS": schedule.heads(spec),
        "COLUMNS": max(16, triton.next_power_of_2(spec.head_dim)),
        "SPLITS": schedule.splits,
    }
