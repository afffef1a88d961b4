"""Lightning attention on a GPU: segments of sequences in four launches, or single steps in one."""

from typing import Any

from sala_compile.codegen.kernels.arguments import (
    Arguments,
    activation,
    batch,
    given,
    result,
    workspace,
)
from sala_compile.codegen.kernels.lightning_attention import spec as lightning
from sala_compile.codegen.kernels.lightning_attention.gpu.prepare_heads import prepare_heads
from sala_compile.codegen.kernels.lightning_attention.gpu.recurrent_step import step
from sala_compile.codegen.kernels.lightning_attention.gpu.segment_scan import (
    end_states,
    outputs,
    start_states,
)
from sala_compile.codegen.kernels.lightning_attention.gpu.spec import (
    LEAST,
    Schedule,
    Spec,
    default_tiles,
)
from sala_compile.codegen.kernels.triton.family import GpuFamily
from sala_compile.codegen.kernels.triton.kernel import ONE, Constant, Grid, Launch
from sala_compile.codegen.kernels.triton.launches import constants_of, launch
from sala_compile.codegen.kernels.triton.phase import TokenForm, form_of
from sala_compile.codegen.kernels.triton.products import Products, comes_from_bf16
from sala_compile.codegen.kernels.triton.rows import power_of_two
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.sala_ir.dialect.mixers import LightningAttentionOp

PREPARED_ROWS = 16
"""Tokens of which a program prepares one head."""


def describe(op: LightningAttentionOp, target: CudaTarget) -> Spec | str:
    """Take every float32 lightning op whose state is float32."""
    fields = lightning.fields_of(op)
    if isinstance(fields, str):
        return fields
    return Spec(
        **fields,
        form=form_of(op),
        products=Products.TF32 if comes_from_bf16(op.q) else Products.IEEE,
    )


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call; a step takes tokens one by one and needs no segments.

    `norm`, `gate` and `sums` belong to the norm after a step (linear/gpu/split_norm.py).
    """
    pitch = padded(spec.num_heads * spec.head_dim)
    per_token = -(-spec.state_size // schedule.segment)
    return (
        *batch("control", "offsets", "history", "slots"),
        *(batch("checkpoints") if spec.form is TokenForm.STEP else ()),
        *lightning.inputs(spec),
        given("norm", "f32", pitch, when=spec.scaled),
        activation("gate", "f32", spec.gate_pitch, when=bool(spec.gate_pitch)),
        result("out", spec.out_element, pitch),
        result("sums", "f32", padded(sums_of_row(spec, schedule)), number=2, when=spec.scaled),
        workspace(
            "prepared",
            "f32",
            0,
            per_token=(spec.num_heads + spec.kv_heads) * spec.head_dim,
            when=spec.form is TokenForm.CHUNKS,
        ),
        workspace(
            "segments",
            "f32",
            0,
            per_token=per_token,
            per_sequence=2 * spec.state_size,
            when=spec.form is TokenForm.CHUNKS,
        ),
    )


def sums_of_row(spec: Spec, schedule: Schedule) -> int:
    """Sums of squares that a step writes for each row."""
    return spec.num_heads * -(-spec.head_dim // schedule.columns)


def launches(spec: Spec, schedule: Schedule, arguments: Arguments) -> tuple[Launch, ...]:
    """A step; or q and k, end states of all segments, the states before them, the outputs."""
    heads, half = Grid(spec.num_heads), power_of_two(spec.head_dim // 2)
    sequences = Grid(0, (("sequences", 1, 1),))
    narrow = Grid(-(-spec.head_dim // schedule.columns))
    options: dict[str, Any] = {"warps": schedule.warps, "stages": 1}
    if spec.form is TokenForm.STEP:
        known = _constants(spec, schedule, half)
        # Threads that share a sum store it to one place: it has the same bits in each of them only
        # if no product enters it unrounded.
        grid = (sequences, heads, narrow)
        return (launch(step, grid, arguments, known, **options, fusion=False),)
    known = _constants(spec, schedule, power_of_two(spec.head_dim, LEAST))
    rows = Grid(0, (("tokens", PREPARED_ROWS, 1),))
    every = (Grid(spec.num_heads + spec.kv_heads), rows, ONE)
    cut = Grid(0, (("tokens", schedule.segment, 1), ("sequences", 1, 2)))
    wide = Grid(-(-spec.head_dim // schedule.state_columns))
    scanned = Grid(-(-(spec.head_dim**2) // schedule.scan))
    ends = {**known, "COLUMNS": schedule.state_columns}
    return (
        launch(prepare_heads, every, arguments, {**known, "BLOCK": half}),
        launch(end_states, (wide, heads, cut), arguments, ends, **options),
        launch(start_states, (sequences, heads, scanned), arguments, known, **options),
        launch(
            outputs,
            (narrow, heads, cut),
            arguments,
            {**known, "BLOCK": max(half, LEAST)},
            **options,
        ),
    )


def _constants(spec: Spec, schedule: Schedule, block: int) -> dict[str, Constant]:
    """What the functions are compiled for; `block` lanes hold a head, or half of one."""
    return constants_of(
        spec,
        RATES=spec.rates,
        HEADS=spec.num_heads,
        HEAD=spec.head_dim,
        TABLE_PITCH=padded(spec.head_dim),
        OUT_PITCH=padded(spec.num_heads * spec.head_dim),
        SIZE=spec.head_dim**2,
        PRECISION=spec.products.value,
        SEGMENT=schedule.segment,
        CHUNK=schedule.chunk,
        PART=schedule.scan,
        ROWS=PREPARED_ROWS,
        BLOCK=block,
        COLUMNS=schedule.columns,
    )


FAMILY = GpuFamily(
    name="lightning_attention",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    tiles=default_tiles,
    read_multiple=lambda schedule: schedule.segment,
    launches=launches,
)
