"""y = scale * epilogue(x W^T + bias) + residual, the weight stored as integers, on the CPU."""

from sala_compile.codegen.kernels.arguments import Arguments, workspace
from sala_compile.codegen.kernels.linear.cpu import spec as linear
from sala_compile.codegen.kernels.linear.cpu.block_division import Division
from sala_compile.codegen.kernels.linear.cpu.epilogue import LinearEpilogue
from sala_compile.codegen.kernels.linear.cpu.kernel import SMALL
from sala_compile.codegen.kernels.linear_integers.cpu.axes import axes
from sala_compile.codegen.kernels.linear_integers.cpu.integer_operands import IntegerOperands
from sala_compile.codegen.kernels.linear_integers.cpu.integer_weights import (
    PanelWeights,
    panel_arguments,
)
from sala_compile.codegen.kernels.linear_integers.cpu.pair_activations import PairActivations
from sala_compile.codegen.kernels.linear_integers.cpu.pair_products import PairOperands
from sala_compile.codegen.kernels.linear_integers.cpu.quad_activations import QuadActivations
from sala_compile.codegen.kernels.linear_integers.cpu.quad_products import QuadOperands
from sala_compile.codegen.kernels.linear_integers.cpu.schedule import Schedule, default_tiles
from sala_compile.codegen.kernels.linear_integers.cpu.spec import Spec
from sala_compile.codegen.kernels.linear_integers.cpu.split_products import SplitOperands
from sala_compile.codegen.kernels.tir.builder import KernelBuilder, Tensors, let
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.rows import live_rows
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.layouts.panels import PANEL_ROWS
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.dialect.base import encoding_of
from sala_compile.sala_ir.dialect.linear import LinearOp
from sala_compile.sala_ir.dialect.weight_storage import LayoutAttr


def describe(op: LinearOp, target: CpuTarget) -> Spec | str:
    """Take a linear whose weight is stored as integers."""
    encoding = encoding_of(op.weight)
    if encoding.is_plain:
        return "the weight is not stored as integers"
    fields = linear.fields_of(op)
    if isinstance(fields, str):
        return fields
    spec = Spec(
        **fields,
        bits=encoding.bits,
        group=encoding.group.data,
        stores_zeros=encoding.stores_zeros,
        has_minima=encoding.has_minima,
        super_block=encoding.super_block.data,
        x_bits=8 if op.activation_group.value.data else 16,
    )
    if spec.padded_depth % spec.block:
        return f"{spec.padded_depth} columns are no whole blocks of {spec.block} for bytes of x"
    return spec


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call, with what a worker keeps."""
    return linear.arguments(spec, panel_arguments(spec.stored), workspaces(spec, schedule))


def workspaces(spec: Spec, schedule: Schedule) -> Arguments:
    """What a worker keeps: sums, x as integers with scales and sums?, a part of a panel?."""
    pairs, blocks = spec.x_bits == 16, schedule.prepared_blocks(spec)
    sums = schedule.prepared_sums(spec)
    return (
        workspace("sums", "f32", schedule.sums),
        workspace("x_values", "u16" if pairs else "i8", schedule.prepared_values(spec)),
        workspace("x_scales", "f32", blocks),
        workspace("x_sums", "f32" if pairs and spec.has_minima else "i32", sums, when=sums > 0),
        workspace(
            "unpacked", "u16" if pairs else "u8", schedule.panel_values(spec), when=spec.expands
        ),
    )


def emit(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> None:
    """Emit the outputs of all live rows."""
    tensors = builder.tensors
    epilogue = LinearEpilogue(spec, tensors)
    operands = integer_operands(tensors, spec, schedule)
    division = Division(spec, schedule, epilogue, tensors.sums, operands)
    live = let(live_rows(tensors.control, spec.extent))

    def work(team: Team) -> None:
        division.work(team, live)

    small_rows = SMALL // (spec.depth * spec.rows)
    workers(builder, tensors.control, work, alone=live <= small_rows if small_rows else None)


def integer_operands(tensors: Tensors, spec: Spec, schedule: Schedule) -> IntegerOperands:
    """Operands of 16-bit pairs, or of bytes."""
    weights = PanelWeights(spec, tensors)
    if spec.x_bits == 16:
        operands = SplitOperands if schedule.splits else PairOperands
        return operands(spec, schedule, PairActivations(spec, tensors), weights, tensors)
    return QuadOperands(spec, schedule, QuadActivations(spec, tensors), weights, tensors)


FAMILY = CpuFamily(
    name="linear_integers",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    tiles=default_tiles,
    axes=axes,
    layouts=lambda spec: {"weight": LayoutAttr.panel(PANEL_ROWS)},
    emit=emit,
)
