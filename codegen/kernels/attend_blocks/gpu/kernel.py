"""attend_blocks on a GPU: tiles of queries over union lists or all of the past; split decode."""

from dataclasses import replace
from typing import Any, cast

import triton
from xdsl.dialects.builtin import TensorType

from sala_compile.codegen.kernels.attend_blocks.gpu.prefill_tiles import (
    attend_past,
    attend_union,
    merge_lists,
)
from sala_compile.codegen.kernels.attend_blocks.gpu.spec import Schedule, Spec
from sala_compile.codegen.kernels.attend_blocks.gpu.split_decode import attend_split, combine_splits
from sala_compile.codegen.kernels.operands import (
    column_views,
    element,
    indices_of,
    refuse_unless_float32,
    spec_values,
)
from sala_compile.codegen.kernels.triton.buffers import pointee
from sala_compile.codegen.kernels.triton.cache import (
    batch_arguments,
    batch_names,
    batch_parameters,
    pool_parameters,
    refuse_heads,
)
from sala_compile.codegen.kernels.triton.kernel import (
    ONE,
    GpuKernel,
    Grid,
    Launch,
    Parameter,
    Pointer,
)
from sala_compile.codegen.kernels.triton.phase import is_decode
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.sala_ir.dialect.heads import kv_type
from sala_compile.sala_ir.dialect.stages import AttendBlocksOp

__all__ = ["Schedule", "Spec", "build", "rule"]

FIELDS = ("control", "token_sequence", "token_position", "offsets", "slots", "page_table")
Constants = dict[str, int | float | bool]


def rule(op: AttendBlocksOp, target: CudaTarget) -> KernelChoice | str:
    """Take float32 queries and gate, up to 32 heads a group and 128 columns a head."""
    refusal = refuse_unless_float32(q=op.q, gate=op.gate) or refuse_heads(op.heads.data)
    if refusal:
        return refusal
    gate = {} if op.gate is None else column_views(gate=op.gate)
    lists = None if op.blocks is None else cast(TensorType, op.blocks.type).get_shape()
    spec = Spec(
        **op.parameters,
        block_size=kv_type(op.kv).block_size.data,
        element=element(op.kv),
        out_element=element(op.out),
        budget=0 if lists is None else lists[2],
        gate=op.gate is not None,
        **column_views(q=op.q),
        **gate,
        decode=is_decode(op),
    )
    operands = indices_of(op.operands, op.q, op.kv, op.blocks, op.counts, op.gate)
    workspaces = Schedule.default(spec).workspaces(spec)
    return KernelChoice(
        symbol=spec.symbol,
        family="attend_blocks",
        spec=spec_values(spec),
        operands=operands,
        arguments=(
            *batch_names(*FIELDS),
            "in:0",
            "in:1.k",
            "in:1.v",
            *(f"in:{i}" for i in range(2, len(operands))),
            "out:0",
            "out:1",
            *(f"workspace:{i}" for i in range(len(workspaces))),
        ),
        workspaces=workspaces,
    )


def build(spec: Spec, target: CudaTarget, schedule: Schedule | None = None) -> GpuKernel:
    """The kernel; its parameters are the `arguments` of `rule`, in that order."""
    schedule = schedule or Schedule.fitting(spec, target)
    if spec.decode:
        launches = (_split(spec, schedule), _combine(spec, schedule))
    elif spec.budget:
        launches = (_merge(spec, schedule), _union(spec, schedule), _past(spec, schedule))
    else:
        launches = (_past(spec, schedule),)
    return GpuKernel(spec.symbol, _parameters(spec, schedule), launches)


def _parameters(spec: Spec, schedule: Schedule) -> tuple[Parameter, ...]:
    heads = spec.kv_heads
    lists = (
        Parameter("blocks", "int32", ("block_rows", heads, spec.budget)),
        Parameter("counts", "int32", ("count_rows", heads)),
    )
    gate = Parameter("gate", "float32", ("gate_rows", spec.gate_pitch))
    out = (spec.out_element.dtype, ("out_rows", padded(spec.num_heads * spec.head_dim)))
    return (
        *batch_parameters(*FIELDS),
        Parameter("q", "float32", ("q_rows", spec.q_pitch)),
        *pool_parameters(spec.cache),
        *(lists if spec.budget else ()),
        *((gate,) if spec.gate else ()),
        Parameter("out", *out),
        Parameter("blocks_read", "int32", ("read_rows", heads)),
        *(
            Parameter(space.name, space.dtype, ("workers", f"{space.name}_columns"))
            for space in schedule.workspaces(spec)
        ),
    )


def _launch(
    spec: Spec,
    schedule: Schedule,
    function: Any,
    grid: tuple[Grid, Grid, Grid],
    **options: Any,
) -> Launch:
    """A launch of a function whose parameters are known by their names."""
    arguments, constants = _arguments(spec), _constants(spec, schedule)
    names = function.arg_names
    return Launch(
        function,
        grid,
        {name: arguments[name] for name in names if name in arguments},
        {name: constants[name] for name in names if name in constants},
        **options,
    )


def _arguments(spec: Spec) -> dict[str, Any]:
    """All that is passed by address; what the op lacks is never followed: `control` instead."""
    element = pointee(spec.element)
    nothing = Pointer("control", "i32")
    integers = ("blocks", "counts") if spec.budget else ()
    unions = ("blocks_read", "entries", "pages", "lengths")
    return {
        **batch_arguments(*FIELDS),
        "q": Pointer("q", "fp32"),
        "k_pool": Pointer("k_pool", element),
        "v_pool": Pointer("v_pool", element),
        "blocks": nothing,
        "counts": nothing,
        **{name: Pointer(name, "i32") for name in (*integers, *unions)},
        "gate": Pointer("gate", "fp32") if spec.gate else Pointer("control", "fp32"),
        "out": Pointer("out", pointee(spec.out_element)),
        "parts": Pointer("parts", "fp32"),
        "sums": Pointer("sums", "fp32"),
    }


def _constants(spec: Spec, schedule: Schedule) -> Constants:
    return {
        "LISTS": bool(spec.budget),
        "KV_HEADS": spec.kv_heads,
        "GROUP": spec.group,
        "BLOCK": spec.block_size,
        "D": spec.head_dim,
        "SCALE": spec.scale,
        "Q_START": spec.q_start,
        "Q_PITCH": spec.q_pitch,
        "GATE": spec.gate,
        "GATE_START": spec.gate_start,
        "GATE_PITCH": spec.gate_pitch,
        "OUT_PITCH": padded(spec.num_heads * spec.head_dim),
        "QUERIES": schedule.queries(spec),
        "HEADS": schedule.heads(spec),
        "TOKENS": max(16, triton.next_power_of_2(spec.block_size)),
        "COLUMNS": max(16, triton.next_power_of_2(spec.head_dim)),
        "BUDGET": spec.budget,
        "LIST": triton.next_power_of_2(max(1, spec.budget)),
        "SPLITS": schedule.splits,
    }


def _tiles(spec: Spec, schedule: Schedule) -> tuple[Grid, Grid, Grid]:
    terms = (("tokens", schedule.queries(spec), 1), ("sequences", 1, 1))
    return Grid(0, terms), Grid(spec.kv_heads), ONE


def _merge(spec: Spec, schedule: Schedule) -> Launch:
    return _launch(spec, schedule, merge_lists, _tiles(spec, schedule), warps=4)


def _union(spec: Spec, schedule: Schedule) -> Launch:
    options = {"warps": schedule.warps, "stages": schedule.stages}
    return _launch(spec, schedule, attend_union, _tiles(spec, schedule), **options)


def _past(spec: Spec, schedule: Schedule) -> Launch:
    options = {"warps": schedule.warps, "stages": schedule.stages}
    return _launch(spec, schedule, attend_past, _tiles(spec, schedule), **options)


def _split(spec: Spec, schedule: Schedule) -> Launch:
    grid = (Grid(0, (("tokens", 1, 1),)), Grid(spec.kv_heads), Grid(schedule.splits))
    options = {"warps": schedule.warps, "stages": schedule.stages}
    return _launch(spec, schedule, attend_split, grid, **options)


def _combine(spec: Spec, schedule: Schedule) -> Launch:
    grid = (Grid(0, (("tokens", 1, 1),)), Grid(spec.num_heads), ONE)
    # Threads that share a sum store it to one place: it has the same bits in each of them only if
    # no product enters it unrounded.
    return replace(_launch(spec, schedule, combine_splits, grid, warps=4), fusion=False)
