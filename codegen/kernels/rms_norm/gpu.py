"""y = x / sqrt(mean(x^2) + eps) * weight over groups, then * sigmoid(gate), on a GPU."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.rms_norm.cpu import Spec
from sala_compile.codegen.kernels.rms_norm.cpu import rule as choose
from sala_compile.codegen.kernels.rms_norm.gpu_rows import norm_groups
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.triton.buffers import (
    CONTROL,
    LIVE_WORD,
    integers,
    parameters,
    pointers,
    values,
)
from sala_compile.codegen.kernels.triton.kernel import GpuKernel, Launch
from sala_compile.codegen.kernels.triton.rows import power_of_two, row_grid, warps_for
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.sala_ir.dialect.norm import RmsNormOp

__all__ = ["LONGEST", "Schedule", "Spec", "build", "rule"]

LONGEST = 32768
"""Columns of a group that one program holds in registers."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Values that a program normalises at a time, unless one group is larger."""

    tile: int = 2048


def rule(op: RmsNormOp, target: CudaTarget) -> KernelChoice | str:
    """Take every norm whose weight is float32 and whose groups fit registers."""
    if op.group > LONGEST:
        return f"a group has {op.group} columns, more than {LONGEST}"
    return choose(op, target)  # type: ignore[arg-type]


def build(spec: Spec, target: CudaTarget, schedule: Schedule | None = None) -> GpuKernel:
    """The kernel (control, x, weight, rows?, gate?, y)."""
    pitch, block = padded(spec.columns), power_of_two(spec.group)
    count = spec.columns // spec.group
    tile = max(block, (schedule or Schedule()).tile)
    groups = min(power_of_two(count), tile // block)
    live = "logit_rows" if spec.gather else "tokens"
    buffers = (
        CONTROL,
        values("x", spec.x, "x_rows", spec.x_pitch),
        values("weight", Element.F32, padded(spec.group)),
        integers("rows", "row_count") if spec.gather else None,
        values("gate", spec.gate, "gate_rows", spec.gate_pitch) if spec.gate_pitch else None,
        values("y", spec.output, "y_rows", pitch),
    )
    constants = {
        "LIVE": LIVE_WORD[live],
        "GATHER": spec.gather,
        "GATE": bool(spec.gate_pitch),
        "EPS": spec.eps,
        "COLUMNS": spec.columns,
        "GROUP": spec.group,
        "X_START": spec.x_start,
        "X_PITCH": spec.x_pitch,
        "GATE_START": spec.gate_start,
        "GATE_PITCH": spec.gate_pitch,
        "Y_PITCH": pitch,
        "GROUPS": groups,
        "BLOCK": block,
    }
    launch = Launch(
        norm_groups,
        row_grid(live, parts=-(-count // groups)),
        pointers(buffers, "rows", "gate"),
        constants,
        warps_for(groups * block),
    )
    return GpuKernel(spec.symbol, parameters(buffers), (launch,))
