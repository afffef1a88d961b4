"""Lightning attention on a GPU: segments of sequences in three launches, or a single step."""

from dataclasses import replace
from typing import Any

from xdsl.dialects.builtin import BFloat16Type, TensorType
from xdsl.ir import Operation, SSAValue

from sala_compile.codegen.kernels.lightning_attention.gpu.recurrent_step import step
from sala_compile.codegen.kernels.lightning_attention.gpu.segment_scan import (
    end_states,
    outputs,
    start_states,
)
from sala_compile.codegen.kernels.lightning_attention.gpu.spec import (
    LEAST,
    Form,
    Products,
    Schedule,
    Spec,
    default_schedule,
)
from sala_compile.codegen.kernels.operands import (
    column_views,
    element,
    indices_of,
    refuse_unless_float32,
    spec_values,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.triton.buffers import (
    CONTROL,
    Buffer,
    integers,
    parameters,
    pointers,
    values,
)
from sala_compile.codegen.kernels.triton.kernel import GpuKernel, Grid, Launch
from sala_compile.codegen.kernels.triton.phase import is_decode
from sala_compile.codegen.kernels.triton.rows import power_of_two
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.support.kernel_choice import KernelChoice, Workspace
from sala_compile.sala_ir.dialect.mixers import LightningAttentionOp

__all__ = [
    "Form",
    "Products",
    "Schedule",
    "Spec",
    "arguments",
    "build",
    "default_schedule",
    "rule",
    "sums_of_row",
]

OPTIONAL = ("q_norm", "k_norm", "rope", "norm", "gate", "sums")


def rule(op: LightningAttentionOp, target: CudaTarget) -> KernelChoice | str:
    """Take every float32 lightning op whose state is float32."""
    refusal = refuse_unless_float32(q=op.q, k=op.k, v=op.v, state=op.state, rope=op.rope)
    if refusal:
        return refusal
    spec = Spec(
        **op.parameters,
        **column_views(q=op.q, k=op.k, v=op.v),
        norm=op.q_norm is not None,
        rope=op.rope is not None,
        out_element=element(op.out),
        form=Form.STEP if is_decode(op) else Form.CHUNKS,
        products=Products.TF32 if _comes_from_bf16(op.q) else Products.IEEE,
    )
    inputs = [op.q, op.k, op.v, op.state, op.q_norm, op.k_norm, op.rope]
    operands = indices_of(op.operands, *inputs)
    chunked = spec.form is Form.CHUNKS
    segment = default_schedule(spec, target).segment
    per_token = -(-spec.state_size // segment)
    segments = Workspace("segments", "float32", 0, 0, per_token, 2 * spec.state_size)
    return KernelChoice(
        symbol=spec.symbol,
        family="lightning_attention",
        spec=spec_values(spec),
        operands=operands,
        arguments=(*arguments(spec), *["workspace:0"] * chunked),
        workspaces=(segments,) if chunked else (),
        read_multiple=segment,
    )


def arguments(spec: Spec) -> tuple[str, ...]:
    """What a call hands over but for workspaces: inputs q, k, v, state, norms?, rope?, norm weight?
    and gate? of the output, outputs out, state, sums?.
    """
    given = 4 + 2 * spec.norm + spec.rope + spec.scaled + bool(spec.gate_pitch)
    inputs = (f"in:{i}" for i in range(given))
    batch = ("batch:offsets", "batch:history", "batch:slots")
    return ("control", *batch, *inputs, "out:0", *["out:2"] * spec.scaled)


def sums_of_row(spec: Spec, target: CudaTarget) -> int:
    """Sums of squares that a step writes for each row."""
    return _parts(spec, default_schedule(spec, target))


def _parts(spec: Spec, schedule: Schedule) -> int:
    return spec.num_heads * -(-spec.head_dim // schedule.columns)


def _comes_from_bf16(value: SSAValue) -> bool:
    """Whether an activation was computed from values of bf16, by the first operands back."""
    while isinstance(value.owner, Operation):
        kinds = [operand.type for operand in value.owner.operands]
        if any(isinstance(getattr(kind, "element_type", None), BFloat16Type) for kind in kinds):
            return True
        if not kinds or not isinstance(kinds[0], TensorType):
            return False
        value = value.owner.operands[0]
    return False


def build(spec: Spec, target: CudaTarget, schedule: Schedule | None = None) -> GpuKernel:
    """The kernel (control, offsets, history, slots, q, k, v, state, norms?, rope?, norm?, gate?,
    out, sums?, segments?).

    A step takes the new tokens of a sequence one by one and needs no segments.
    """
    schedule = schedule or default_schedule(spec, target)
    buffers = _buffers(spec, schedule)
    launches = (_step(spec, schedule),)
    if spec.form is Form.CHUNKS:
        launches = _chunks(spec, schedule)
    return GpuKernel(spec.symbol, parameters(buffers), launches)


def _buffers(spec: Spec, schedule: Schedule) -> tuple[Buffer | None, ...]:
    head, kind = spec.head_dim, Element.F32
    norm, pitch = (padded(head),), padded(spec.num_heads * head)
    chunked = spec.form is Form.CHUNKS
    return (
        CONTROL,
        integers("offsets", "offset_capacity"),
        integers("history", "history_capacity"),
        integers("slots", "slot_capacity"),
        *(values(name, kind, f"{name}_rows", getattr(spec, f"{name}_pitch")) for name in "qkv"),
        values("state", kind, "state_slots", spec.num_heads, head, head),
        values("q_norm", kind, *norm) if spec.norm else None,
        values("k_norm", kind, *norm) if spec.norm else None,
        values("rope", kind, "rope_rows", padded(head)) if spec.rope else None,
        values("norm", kind, pitch) if spec.scaled else None,
        values("gate", kind, "gate_rows", spec.gate_pitch) if spec.gate_pitch else None,
        values("out", spec.out_element, "out_rows", pitch),
        values("sums", kind, "sum_rows", padded(_parts(spec, schedule))) if spec.scaled else None,
        values("segments", kind, "workers", "segments_elements") if chunked else None,
    )


def _launch(
    spec: Spec, function: Any, grid: tuple[Grid, Grid, Grid], schedule: Schedule, **more: Any
) -> Launch:
    """A launch with those of all arguments and constants that the function has."""
    head = spec.head_dim
    known = {
        "RATES": spec.rates,
        "HEADS": spec.num_heads,
        "KV_HEADS": spec.kv_heads,
        "HEAD": head,
        "SCALE": spec.scale,
        "EPS": spec.eps,
        "NORM": spec.norm,
        "ROPE": spec.rope,
        "TABLE_PITCH": padded(head),
        "Q_START": spec.q_start,
        "Q_PITCH": spec.q_pitch,
        "K_START": spec.k_start,
        "K_PITCH": spec.k_pitch,
        "V_START": spec.v_start,
        "V_PITCH": spec.v_pitch,
        "OUT_PITCH": padded(spec.num_heads * head),
        "SIZE": head * head,
        "PRECISION": spec.products.value,
        "SEGMENT": schedule.segment,
        "CHUNK": schedule.chunk,
        "PART": schedule.scan,
        "SCALED": spec.scaled,
        "GATE_START": spec.gate_start,
        "GATE_PITCH": spec.gate_pitch,
        **more,
    }
    names = function.arg_names
    found = pointers(_buffers(spec, schedule), *OPTIONAL)
    arguments = {name: found[name] for name in names if name in found}
    constants = {name: known[name] for name in names if name in known}
    return Launch(function, grid, arguments, constants, schedule.warps, stages=1)


def _chunks(spec: Spec, schedule: Schedule) -> tuple[Launch, ...]:
    """End states of all segments, the states before them, then the outputs."""
    heads, block = Grid(spec.num_heads), power_of_two(spec.head_dim // 2, LEAST)
    cut = Grid(0, (("tokens", schedule.segment, 1), ("sequences", 1, 2)))
    wide, narrow = (
        Grid(-(-spec.head_dim // columns)) for columns in (schedule.state_columns, schedule.columns)
    )
    scanned = Grid(-(-(spec.head_dim**2) // schedule.scan))
    sequences = Grid(0, (("sequences", 1, 1),))
    ends = {"BLOCK": block, "COLUMNS": schedule.state_columns}
    return (
        _launch(spec, end_states, (wide, heads, cut), schedule, **ends),
        _launch(spec, start_states, (sequences, heads, scanned), schedule),
        _launch(
            spec, outputs, (narrow, heads, cut), schedule, BLOCK=block, COLUMNS=schedule.columns
        ),
    )


def _step(spec: Spec, schedule: Schedule) -> Launch:
    sequences = Grid(0, (("sequences", 1, 1),))
    parts = Grid(-(-spec.head_dim // schedule.columns))
    block = power_of_two(spec.head_dim // 2)
    grid = (sequences, Grid(spec.num_heads), parts)
    # Threads that share a sum store it to one place: it has the same bits in each of them only if
    # no product enters it unrounded.
    one = _launch(spec, step, grid, schedule, BLOCK=block, COLUMNS=schedule.columns)
    return replace(one, fusion=False)
