"""y = scale * epilogue(x W^T + bias) + residual, the weight stored as integers, on the CPU."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sala_compile.codegen.kernels.linear.cpu import kernel as plain
from sala_compile.codegen.kernels.linear.cpu.block_division import Division
from sala_compile.codegen.kernels.linear.cpu.epilogue import Epilogue, live_rows
from sala_compile.codegen.kernels.linear_integers.cpu.integer_operands import IntegerOperands
from sala_compile.codegen.kernels.linear_integers.cpu.integer_weights import Weights
from sala_compile.codegen.kernels.linear_integers.cpu.pair_activations import PairActivations
from sala_compile.codegen.kernels.linear_integers.cpu.pair_products import PairOperands
from sala_compile.codegen.kernels.linear_integers.cpu.quad_activations import QuadActivations
from sala_compile.codegen.kernels.linear_integers.cpu.quad_products import QuadOperands
from sala_compile.codegen.kernels.linear_integers.cpu.spec import Schedule, Spec, default_schedule
from sala_compile.codegen.kernels.operands import (
    element,
    indices_of,
    refuse_unless_float32,
    spec_values,
)
from sala_compile.codegen.kernels.tir.builder import Tensor, kernel, let
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.layouts.encodings import weight_parts
from sala_compile.codegen.layouts.panels import PANEL_ROWS
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.passes.support.kernel_choice import KernelChoice, Workspace
from sala_compile.sala_ir.dialect.linear import LinearOp
from sala_compile.sala_ir.dialect.types import WeightType
from sala_compile.sala_ir.dialect.weight_storage import LayoutAttr

__all__ = ["Schedule", "Spec", "build", "default_schedule", "rule", "workspaces"]


def rule(op: LinearOp, target: CpuTarget) -> KernelChoice | str:
    """Take a linear whose weight is stored as integers."""
    kind = op.weight.type
    assert isinstance(kind, WeightType)
    if kind.encoding.is_plain:
        return "the weight is not stored as integers"
    if element(op.x) is not element(op.weight):
        return f"input is {element(op.x)}, values are {element(op.weight)}: they must be equal"
    refusal = refuse_unless_float32(bias=op.bias, residual=op.residual)
    if refusal:
        return refusal
    encoding, layout = kind.encoding, LayoutAttr.panel(PANEL_ROWS)
    spec = Spec(
        **asdict(plain.spec_of(op)),
        bits=encoding.bits,
        group=encoding.group.data,
        stores_zeros=encoding.stores_zeros,
        x_bits=8 if op.activation_group.value.data else 16,
    )
    operands = indices_of(op.operands, op.x, op.weight, op.bias, op.residual)
    parts = [f"in:1.{part.suffix}" for part in weight_parts(kind.with_layout(layout))]
    rest = [f"in:{index}" for index in range(2, len(operands))]
    spaces = workspaces(spec, default_schedule(spec, target))
    scratch = [f"workspace:{index}" for index in range(len(spaces))]
    return KernelChoice(
        symbol=spec.symbol,
        family="linear_integers",
        spec=spec_values(spec),
        operands=operands,
        arguments=("control", "in:0", *parts, *rest, "out:0", *scratch),
        workspaces=spaces,
        weight_layouts={1: layout},
    )


def workspaces(spec: Spec, schedule: Schedule) -> tuple[Workspace, ...]:
    """What a worker keeps: sums, x as integers with scales and sums?, a part of a panel?."""
    pairs = spec.x_bits == 16
    found = [
        Workspace("sums", "float32", schedule.blocks.sums),
        Workspace("x_values", "uint16" if pairs else "int8", schedule.prepared_values(spec)),
        Workspace("x_scales", "float32", schedule.prepared_blocks(spec)),
    ]
    if not pairs:
        found.append(Workspace("x_sums", "int32", schedule.prepared_blocks(spec)))
    if spec.expands:
        kind = "uint16" if pairs else "uint8"
        found.append(Workspace("unpacked", kind, schedule.panel_values(spec)))
    return tuple(found)


def build(spec: Spec, target: CpuTarget, schedule: Schedule | None = None) -> Any:
    """Return the PrimFunc (control, x, codes, scales, zeros?, bias?, residual?, y, workspaces).

    x and y have any capacity of rows; the memory of y may be that of the residual.
    """
    schedule = schedule or default_schedule(spec, target)
    with kernel(spec.symbol, target, noalias=not spec.residual_pitch) as builder:
        control = builder.control()
        x = builder.tensor("x", ("x_rows", spec.x_pitch), spec.weight.dtype)
        stored = Weights.declare(builder, spec)
        epilogue = Epilogue.declare(builder, spec)
        spaces = {
            space.name: builder.tensor(space.name, ("workers", space.elements), space.dtype)
            for space in workspaces(spec, schedule)
        }
        weights = Weights(spec, *stored, spaces.get("unpacked"))
        operands = _operands(spec, schedule, x, weights, spaces)
        division = Division(spec, schedule.blocks, epilogue, spaces["sums"], operands)
        live = let(live_rows(control, spec))

        def work(team: Team) -> None:
            division.work(team, live)

        small_rows = plain.SMALL // (spec.depth * spec.rows)
        workers(builder, control, work, alone=live <= small_rows if small_rows else None)
    return builder.function


def _operands(
    spec: Spec, schedule: Schedule, x: Tensor, weights: Weights, spaces: Mapping[str, Tensor]
) -> IntegerOperands:
    """Operands of 16-bit pairs, or of bytes."""
    prepared = spec, x, spaces["x_values"], spaces["x_scales"]
    if spec.x_bits == 16:
        pairs = PairActivations(*prepared)
        return PairOperands(spec, schedule, pairs, weights, spaces["sums"])
    quads = QuadActivations(*prepared, spaces["x_sums"])
    return QuadOperands(spec, schedule, quads, weights, spaces["sums"])
