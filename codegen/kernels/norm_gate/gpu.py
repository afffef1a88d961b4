"""y = rms_norm(x; weight) * sigmoid(gate), each part optional, on a GPU."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.norm_gate.cpu import Spec
from sala_compile.codegen.kernels.norm_gate.cpu import rule as choose
from sala_compile.codegen.kernels.norm_gate.gpu_rows import norm_gate_rows
from sala_compile.codegen.kernels.operands import padded
from sala_compile.codegen.kernels.rms_norm.gpu import LONGEST
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.triton.buffers import CONTROL, parameters, pointers, values
from sala_compile.codegen.kernels.triton.kernel import GpuKernel, Launch
from sala_compile.codegen.kernels.triton.rows import power_of_two, row_grid, warps_for
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.sala_ir.dialect.base import columns_of
from sala_compile.sala_ir.dialect.norm import NormGateOp

__all__ = ["Schedule", "Spec", "build", "rule"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Warps of a program at most."""

    warps: int = 16


def rule(op: NormGateOp, target: CudaTarget) -> KernelChoice | str:
    """Take every norm whose weight is float32 and whose rows fit registers."""
    if columns_of(op.x) > LONGEST:
        return f"a row has {columns_of(op.x)} columns, more than {LONGEST}"
    return choose(op, target)  # type: ignore[arg-type]


def build(spec: Spec, target: CudaTarget, schedule: Schedule | None = None) -> GpuKernel:
    """The kernel (control, x, weight?, gate?, y)."""
    pitch = padded(spec.columns)
    block = power_of_two(pitch)
    buffers = (
        CONTROL,
        values("x", spec.x, "x_rows", spec.x_pitch),
        values("weight", Element.F32, pitch) if spec.weight else None,
        values("gate", spec.gate, "gate_rows", spec.gate_pitch) if spec.gate_pitch else None,
        values("y", spec.output, "y_rows", pitch),
    )
    constants = {
        "WEIGHT": spec.weight,
        "GATE": bool(spec.gate_pitch),
        "EPS": spec.eps,
        "COLUMNS": spec.columns,
        "X_START": spec.x_start,
        "X_PITCH": spec.x_pitch,
        "GATE_START": spec.gate_start,
        "GATE_PITCH": spec.gate_pitch,
        "Y_PITCH": pitch,
        "BLOCK": block,
    }
    launch = Launch(
        norm_gate_rows,
        row_grid(),
        pointers(buffers, "weight", "gate"),
        constants,
        warps_for(block, (schedule or Schedule()).warps),
    )
    return GpuKernel(spec.symbol, parameters(buffers), (launch,))
