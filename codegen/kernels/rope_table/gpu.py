"""[cos | sin] of position * frequency for every new token, in float32, on a GPU."""

from dataclasses import dataclass

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
from sala_compile.codegen.kernels.triton.cache import FIELDS
from sala_compile.codegen.kernels.triton.kernel import ONE, GpuKernel, Grid, Launch
from sala_compile.codegen.kernels.triton.rows import power_of_two
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cuda import CudaTarget

__all__ = ["Schedule", "Spec", "build", "rule"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tokens that a program takes."""

    tokens: int = 8


def build(spec: Spec, target: CudaTarget, schedule: Schedule | None = None) -> GpuKernel:
    """The kernel (control, token_position, token_sequence, call_lengths, table).

    Without ranges of call lengths the two fields before the last are absent.
    """
    tokens, half = (schedule or Schedule()).tokens, spec.half
    pitch = padded(2 * half)
    buffers = (
        CONTROL,
        *(integers(field, *FIELDS[field]) for field in spec.fields),
        values("table", Element.F32, "table_rows", pitch),
    )
    constants = {
        "FREQUENCIES": spec.frequencies,
        "STARTS": spec.starts,
        "RANGES": len(spec.starts),
        "FACTOR": spec.factor,
        "HALF": half,
        "PITCH": pitch,
        "TOKENS": tokens,
        "BLOCK": power_of_two(half),
    }
    grid = (Grid(0, (("tokens", tokens, 1),)), ONE, ONE)
    arguments = pointers(buffers, "token_sequence", "call_lengths")
    launch = Launch(write_table, grid, arguments, constants, warps=4)
    return GpuKernel(spec.symbol, parameters(buffers), (launch,))
