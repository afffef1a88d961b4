"""Gate, SwiGLU and residual sum as kernels of their own, on a GPU."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.elementwise.cpu import Spec, rule
from sala_compile.codegen.kernels.elementwise.gpu_rows import combine
from sala_compile.codegen.kernels.triton.buffers import CONTROL, parameters, pointers, values
from sala_compile.codegen.kernels.triton.kernel import GpuKernel, Launch
from sala_compile.codegen.kernels.triton.rows import power_of_two, row_grid, warps_for
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cuda import CudaTarget

__all__ = ["Schedule", "Spec", "build", "rule"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Columns that a program computes at most."""

    block: int = 2048


def build(spec: Spec, target: CudaTarget, schedule: Schedule | None = None) -> GpuKernel:
    """The kernel (control, a, b, y); the memory of y may be that of an operand."""
    pitch = padded(spec.columns)
    block = min(power_of_two(pitch), (schedule or Schedule()).block)
    buffers = (
        CONTROL,
        values("a", spec.a, "a_rows", spec.a_pitch),
        values("b", spec.b, "b_rows", spec.b_pitch),
        values("y", spec.output, "y_rows", pitch),
    )
    constants = {
        "FUNCTION": spec.function.value,
        "SCALE": spec.scale,
        "COLUMNS": spec.columns,
        "A_START": spec.a_start,
        "A_PITCH": spec.a_pitch,
        "B_START": spec.b_start,
        "B_PITCH": spec.b_pitch,
        "Y_PITCH": pitch,
        "BLOCK": block,
    }
    launch = Launch(
        combine, row_grid(parts=-(-pitch // block)), pointers(buffers), constants, warps_for(block)
    )
    return GpuKernel(spec.symbol, parameters(buffers), (launch,))
