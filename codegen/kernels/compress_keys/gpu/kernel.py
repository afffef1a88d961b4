"""compress_keys on a GPU: one program finds and averages the windows that a few tokens end."""

from dataclasses import dataclass

import triton

from sala_compile.codegen.kernels.compress_keys.cpu import Spec, spec_of
from sala_compile.codegen.kernels.compress_keys.gpu.window_means import average_windows
from sala_compile.codegen.kernels.operands import indices_of, spec_values
from sala_compile.codegen.kernels.triton.buffers import pointee
from sala_compile.codegen.kernels.triton.cache import (
    batch_arguments,
    batch_names,
    batch_parameters,
    level_parameters,
    pool_parameters,
)
from sala_compile.codegen.kernels.triton.kernel import GpuKernel, Grid, Launch, Pointer
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.sala_ir.dialect.stages import CompressKeysOp

__all__ = ["Schedule", "Spec", "build", "rule"]

FIELDS = (
    "control",
    "token_sequence",
    "token_position",
    "slots",
    "page_table",
    "compressed_table",
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tokens in which a program looks for ends of windows."""

    tokens: int = 16
    warps: int = 4


def rule(op: CompressKeysOp, target: CudaTarget) -> KernelChoice | str:
    """Take every op: the types guarantee windows of two strides that fill blocks evenly."""
    spec = spec_of(op)
    return KernelChoice(
        symbol=spec.symbol,
        family="compress_keys",
        spec=spec_values(spec),
        operands=indices_of(op.operands, op.kv, op.ck),
        arguments=(*batch_names(*FIELDS), "in:0.k", "in:1.fine", "in:1.coarse"),
    )


def build(spec: Spec, target: CudaTarget, schedule: Schedule | None = None) -> GpuKernel:
    """The kernel; its parameters are the `arguments` of `rule`, in that order."""
    schedule = schedule or Schedule()
    keys, _ = pool_parameters(spec.cache)
    pools = level_parameters(spec.levels, spec.kv_heads, spec.head_dim, spec.compressed_element)
    return GpuKernel(
        spec.symbol,
        (*batch_parameters(*FIELDS), keys, *pools),
        (_launch(spec, schedule),),
    )


def _launch(spec: Spec, schedule: Schedule) -> Launch:
    fine, coarse = spec.levels
    kind = pointee(spec.compressed_element)
    return Launch(
        average_windows,
        (Grid(0, (("tokens", schedule.tokens, 1),)), Grid(spec.kv_heads), Grid(2)),
        {
            **batch_arguments(*FIELDS),
            "k_pool": Pointer("k_pool", pointee(spec.element)),
            "fine": Pointer(fine.name, kind),
            "coarse": Pointer(coarse.name, kind),
        },
        {
            "KV_HEADS": spec.kv_heads,
            "BLOCK": spec.block_size,
            "D": spec.head_dim,
            "STRIDE": spec.kernel_stride,
            "FINE_PARTS": fine.size // spec.kernel_stride,
            "FINE_SLOTS": fine.slots,
            "COARSE_PARTS": coarse.size // spec.kernel_stride,
            "COARSE_SLOTS": coarse.slots,
            "TOKENS": schedule.tokens,
            "ROWS": triton.next_power_of_2(spec.kernel_stride),
            "COLUMNS": triton.next_power_of_2(spec.head_dim),
        },
        schedule.warps,
    )
