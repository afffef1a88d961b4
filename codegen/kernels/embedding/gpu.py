"""y[t] = scale * weight[tokens[t]] on a GPU, from a row-major matrix."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.embedding.cpu import Spec
from sala_compile.codegen.kernels.embedding.cpu import rule as choose
from sala_compile.codegen.kernels.embedding.gpu_rows import embed
from sala_compile.codegen.kernels.triton.buffers import (
    CONTROL,
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
from sala_compile.sala_ir.dialect.embedding import EmbeddingOp

__all__ = ["Schedule", "Spec", "build", "rule"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Columns that a program copies at most."""

    block: int = 2048


def rule(op: EmbeddingOp, target: CudaTarget) -> KernelChoice | str:
    """Take every embedding whose matrix no other kernel wants in panels."""
    choice = choose(op, target)  # type: ignore[arg-type]
    if isinstance(choice, KernelChoice) and choice.spec["panel"]:
        return "the matrix is in the panels of another kernel"
    return choice


def build(spec: Spec, target: CudaTarget, schedule: Schedule | None = None) -> GpuKernel:
    """The kernel (control, tokens, weight, y)."""
    pitch = padded(spec.columns)
    block = min(power_of_two(pitch), (schedule or Schedule()).block)
    buffers = (
        CONTROL,
        integers("tokens", "tokens"),
        values("weight", spec.weight, spec.vocabulary, pitch),
        values("y", spec.output, "y_rows", pitch),
    )
    constants = {"SCALE": spec.scale, "COLUMNS": spec.columns, "PITCH": pitch, "BLOCK": block}
    launch = Launch(
        embed, row_grid(parts=-(-pitch // block)), pointers(buffers), constants, warps_for(block)
    )
    return GpuKernel(spec.symbol, parameters(buffers), (launch,))
