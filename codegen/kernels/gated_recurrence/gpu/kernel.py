"""Gated recurrences on a GPU: all chunks at once, then one after the other; or single steps."""

from typing import Any

from sala_compile.codegen.kernels.arguments import Arguments, batch, result, workspace
from sala_compile.codegen.kernels.gated_recurrence import spec as recurrence
from sala_compile.codegen.kernels.gated_recurrence.gpu.channel_matrices import channel_matrices
from sala_compile.codegen.kernels.gated_recurrence.gpu.chunk_matrices import chunk_matrices
from sala_compile.codegen.kernels.gated_recurrence.gpu.chunk_scan import scan_chunks
from sala_compile.codegen.kernels.gated_recurrence.gpu.recurrent_step import step
from sala_compile.codegen.kernels.gated_recurrence.gpu.spec import (
    BLOCK,
    LARGEST_KEY,
    PLANES,
    Schedule,
    Spec,
    default_tiles,
    place_of,
)
from sala_compile.codegen.kernels.gated_recurrence.spec import CHUNK, Rule
from sala_compile.codegen.kernels.triton.family import GpuFamily
from sala_compile.codegen.kernels.triton.kernel import ONE, Constant, Grid, Launch
from sala_compile.codegen.kernels.triton.launches import constants_of, launch
from sala_compile.codegen.kernels.triton.phase import TokenForm, form_of
from sala_compile.codegen.kernels.triton.products import Products, comes_from_bf16
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.sala_ir.attention_sizes import NO_LIMIT
from sala_compile.sala_ir.dialect.recurrence import GatedDeltaOp, StateSpaceOp


def describe(op: GatedDeltaOp | StateSpaceOp, target: CudaTarget) -> Spec | str:
    """Take every float32 op whose state is float32, with keys that a program holds."""
    fields = recurrence.fields_of(op)
    if isinstance(fields, str):
        return fields
    if fields["key_dim"] > LARGEST_KEY:
        return f"keys of {fields['key_dim']} columns pass {LARGEST_KEY}"
    products = Products.TF32X3 if comes_from_bf16(op.q) else Products.IEEE
    return Spec(**fields, form=form_of(op), products=products)


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call; a step takes tokens one by one and needs no chunks."""
    is_step = spec.form is TokenForm.STEP
    place = spec.num_heads * place_of(spec, schedule)
    rows = PLANES * spec.num_heads * spec.key_dim
    return (
        *batch("control", "offsets", "history", "slots"),
        *batch("checkpoints", when=is_step),
        *recurrence.inputs(spec),
        result("out", spec.out_element, padded(spec.num_heads * spec.value_dim)),
        workspace("prepared", "f32", 0, per_token=rows, when=spec.channel_decay and not is_step),
        workspace(
            "chunks",
            "f32",
            0,
            per_token=-(-place // schedule.chunk),
            per_sequence=2 * place,
            when=not is_step,
        ),
    )


def launches(spec: Spec, schedule: Schedule, arguments: Arguments) -> tuple[Launch, ...]:
    """A step; or the matrices of all chunks, then the chunks of each sequence in turn."""
    constants = _constants(spec, schedule)
    heads, sequences = Grid(spec.num_heads), Grid(0, (("sequences", 1, 1),))
    columns = Grid(-(-spec.value_dim // schedule.columns))
    grid = (columns, heads, sequences)
    options: dict[str, Any] = {"warps": schedule.warps, "stages": 1}
    # Threads that share a sum store it to one place: it has the same bits in each of them only
    # if no product enters it unrounded.
    if spec.form is TokenForm.STEP:
        return (launch(step, grid, arguments, constants, **options, fusion=False),)
    cut = Grid(0, (("tokens", schedule.chunk, 1), ("sequences", 1, 2)))
    matrices = channel_matrices if spec.channel_decay else chunk_matrices
    return (
        launch(
            matrices,
            (heads, cut, ONE),
            arguments,
            constants,
            warps=schedule.matrix_warps,
            stages=1,
            fusion=False,
        ),
        launch(scan_chunks, grid, arguments, constants, **options),
    )


def _constants(spec: Spec, schedule: Schedule) -> dict[str, Constant]:
    """What the functions are compiled for."""
    return constants_of(
        spec,
        DELTA=spec.rule is Rule.DELTA,
        LIMITED=spec.most < NO_LIMIT,
        OUT_PITCH=padded(spec.num_heads * spec.value_dim),
        PRECISION=spec.products.value,
        CHUNK=schedule.chunk,
        BLOCK=BLOCK,
        LANES=spec.lanes,
        PART=min(schedule.part, spec.lanes),
        COLUMNS=schedule.columns,
        PLACE=place_of(spec, schedule),
        VECTORS=2 * schedule.chunk**2,
    )


FAMILY = GpuFamily(
    name="gated_recurrence",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    tiles=default_tiles,
    read_multiple=lambda schedule: CHUNK,
    launches=launches,
)
