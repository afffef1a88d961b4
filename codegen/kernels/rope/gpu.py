"""Rotation of dimension i of every head with dimension i + R/2, on a GPU."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.rope.cpu import Spec, rule
from sala_compile.codegen.kernels.rope.gpu_rows import rotate_heads
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.triton.buffers import CONTROL, parameters, pointers, values
from sala_compile.codegen.kernels.triton.kernel import GpuKernel, Launch
from sala_compile.codegen.kernels.triton.rows import power_of_two, row_grid, warps_for
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cuda import CudaTarget

__all__ = ["Schedule", "Spec", "build", "rule"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Pairs of values that a program rotates at most."""

    pairs: int = 1024


def build(spec: Spec, target: CudaTarget, schedule: Schedule | None = None) -> GpuKernel:
    """The kernel (control, x, table, y)."""
    pitch, count = padded(spec.columns), spec.columns // spec.head_dim
    block = power_of_two(max(spec.rotated // 2, spec.head_dim - spec.rotated))
    heads = min(power_of_two(count), max(1, (schedule or Schedule()).pairs // block))
    table_pitch = padded(spec.rotated)
    buffers = (
        CONTROL,
        values("x", spec.x, "x_rows", spec.x_pitch),
        values("table", Element.F32, "table_rows", table_pitch),
        values("y", spec.output, "y_rows", pitch),
    )
    constants = {
        "COLUMNS": spec.columns,
        "HEAD": spec.head_dim,
        "HALF": spec.rotated // 2,
        "X_START": spec.x_start,
        "X_PITCH": spec.x_pitch,
        "TABLE_PITCH": table_pitch,
        "Y_PITCH": pitch,
        "HEADS": heads,
        "BLOCK": block,
    }
    launch = Launch(
        rotate_heads,
        row_grid(parts=-(-count // heads)),
        pointers(buffers),
        constants,
        warps_for(2 * heads * block),
    )
    return GpuKernel(spec.symbol, parameters(buffers), (launch,))
