"""[cos | sin] of position * theta^(-2i/D) for every new token, in float32, on a GPU."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.operands import padded
from sala_compile.codegen.kernels.rope_table.cpu import Spec, rule
from sala_compile.codegen.kernels.rope_table.gpu_angles import write_table
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.triton.buffers import (
    CONTROL,
    integers,
    parameters,
    pointers,
    values,
)
from sala_compile.codegen.kernels.triton.kernel import ONE, GpuKernel, Grid, Launch
from sala_compile.codegen.kernels.triton.rows import power_of_two
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.sala_ir.reference.rope import inverse_frequencies

__all__ = ["Schedule", "Spec", "build", "rule"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tokens that a program takes."""

    tokens: int = 8


def build(spec: Spec, target: CudaTarget, schedule: Schedule | None = None) -> GpuKernel:
    """The kernel (control, token_position, table)."""
    tokens, half = (schedule or Schedule()).tokens, spec.head_dim // 2
    pitch = padded(spec.head_dim)
    buffers = (
        CONTROL,
        integers("token_position", "tokens"),
        values("table", Element.F32, "table_rows", pitch),
    )
    frequencies = inverse_frequencies(spec.theta, spec.head_dim)
    constants = {
        "FREQUENCIES": tuple(float(value) for value in frequencies),
        "HALF": half,
        "PITCH": pitch,
        "TOKENS": tokens,
        "BLOCK": power_of_two(half),
    }
    grid = (Grid(0, (("tokens", tokens, 1),)), ONE, ONE)
    launch = Launch(write_table, grid, pointers(buffers), constants, warps=4)
    return GpuKernel(spec.symbol, parameters(buffers), (launch,))
