"""Constants and tiles of the lightning attention kernels of a GPU."""

import math
from dataclasses import dataclass

import numpy as np

from sala_compile.codegen.kernels.lightning_attention import spec as lightning
from sala_compile.codegen.kernels.triton.phase import TokenForm
from sala_compile.codegen.kernels.triton.products import Products
from sala_compile.codegen.kernels.triton.rows import power_of_two
from sala_compile.codegen.targets.cuda import CudaTarget

LEAST = 16
"""Rows or columns of the smallest matrix product."""


@dataclass(frozen=True, slots=True)
class Spec(lightning.Spec):
    """What the kernel is compiled for: as on the CPU, the form, products, and the norm after it.

    Factors cut for TF32 shrink outputs by 1.4e-3 on average, the state by 7e-4; the norm after the
    layer removes a factor that is common to a row.
    `scaled`: out is multiplied by a weight and by the sigmoid of a gate (with a `gate_pitch`), and
    its sums of squares are written next to it, as `linear/gpu/split_norm.py` has it.
    """

    form: TokenForm = TokenForm.CHUNKS
    products: Products = Products.IEEE
    scaled: bool = False
    gate_start: int = 0
    gate_pitch: int = 0

    @property
    def label(self) -> str:
        """The family, the main sizes and the form, for names."""
        sizes = f"h{self.num_heads}_kv{self.kv_heads}_d{self.head_dim}_{self.form}"
        return f"lightning_attention_{sizes}" + "_scaled" * self.scaled

    @property
    def rates(self) -> tuple[float, ...]:
        """The base-2 logarithm of every head's decay, a float32."""
        return tuple(float(np.float32(-slope * math.log2(math.e))) for slope in self.slopes)

    @property
    def state_size(self) -> int:
        """Values of the states of all heads."""
        return self.num_heads * self.head_dim**2


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the work on a head is divided.

    Chunks and segments in tokens; programs that compute outputs take `columns` of the values, those
    that compute end states `state_columns`, and those of the scan `scan` values of a state.
    """

    chunk: int
    segment: int
    columns: int
    state_columns: int
    warps: int
    scan: int = 1024


def default_tiles(spec: Spec, target: CudaTarget) -> Schedule:
    """The largest tiles that leave every value in registers, for heads of up to 128."""
    width = power_of_two(spec.head_dim, LEAST)
    if spec.form is TokenForm.STEP:
        return Schedule(1, 1, min(width, 32), 0, warps=4)
    if spec.products is Products.IEEE:
        return Schedule(16, 512, min(width, 16), min(width, 32), warps=8)
    columns = min(width, 64)
    if target.architecture in (90, 100):
        return Schedule(64, 512, columns, min(width, 128), warps=8)
    return Schedule(32, 512, columns, columns, warps=8)
