"""append_kv on a GPU: one program for a tile of tokens and a kv head."""

from dataclasses import dataclass

import triton

from sala_compile.codegen.kernels.append_kv.cpu import Spec, rule
from sala_compile.codegen.kernels.append_kv.gpu_rows import write_rows
from sala_compile.codegen.kernels.triton.buffers import pointee
from sala_compile.codegen.kernels.triton.cache import (
    batch_arguments,
    batch_parameters,
    pool_parameters,
)
from sala_compile.codegen.kernels.triton.kernel import (
    ONE,
    GpuKernel,
    Grid,
    Launch,
    Parameter,
    Pointer,
)
from sala_compile.codegen.targets.cuda import CudaTarget

__all__ = ["Schedule", "Spec", "build", "rule"]

FIELDS = ("control", "token_sequence", "token_position", "slots", "page_table")


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tokens that a program takes."""

    rows: int = 16
    warps: int = 4


def build(spec: Spec, target: CudaTarget, schedule: Schedule | None = None) -> GpuKernel:
    """The kernel (control, token_sequence, token_position, slots, page_table, k, v, pools)."""
    schedule = schedule or Schedule()
    element = pointee(spec.element)
    launch = Launch(
        write_rows,
        (Grid(0, (("tokens", schedule.rows, 1),)), Grid(spec.kv_heads), ONE),
        {
            **batch_arguments(*FIELDS),
            "k": Pointer("k", "fp32"),
            "v": Pointer("v", "fp32"),
            "k_pool": Pointer("k_pool", element),
            "v_pool": Pointer("v_pool", element),
        },
        {
            "KV_HEADS": spec.kv_heads,
            "BLOCK": spec.block_size,
            "D": spec.head_dim,
            "K_START": spec.k_start,
            "K_PITCH": spec.k_pitch,
            "V_START": spec.v_start,
            "V_PITCH": spec.v_pitch,
            "ROWS": schedule.rows,
            "COLUMNS": triton.next_power_of_2(spec.head_dim),
        },
        schedule.warps,
    )
    parameters = (
        *batch_parameters(*FIELDS),
        Parameter("k", "float32", ("k_rows", spec.k_pitch)),
        Parameter("v", "float32", ("v_rows", spec.v_pitch)),
        *pool_parameters(spec.cache),
    )
    return GpuKernel(spec.symbol, parameters, (launch,))
