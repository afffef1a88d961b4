"""The next token of every row of logits, on a GPU."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.operands import spec_values, symbol_of
from sala_compile.codegen.kernels.sample.gpu.choose_token import choose
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
from sala_compile.codegen.kernels.triton.rows import power_of_two, row_grid
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.support.kernel_choice import KernelChoice

__all__ = ["Schedule", "Spec", "build", "choice"]

WORDS = 5
"""That say how a token is chosen."""


@dataclass(frozen=True, slots=True)
class Spec:
    """Constants of the choice: the size of the vocabulary."""

    vocabulary: int

    @property
    def symbol(self) -> str:
        """A unique name."""
        return symbol_of("sample", str(self.vocabulary), self)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Logits that a program reads at a time, at most."""

    block: int = 4096
    warps: int = 16


def choice(vocabulary: int) -> KernelChoice:
    """The kernel of a vocabulary; `in:0` are the logits, `out:0` the tokens."""
    spec = Spec(vocabulary)
    return KernelChoice(
        symbol=spec.symbol,
        family="sample",
        spec=spec_values(spec),
        operands=(0,),
        arguments=("control", "batch:sampling", "in:0", "out:0"),
        rule="sample",
    )


def build(spec: Spec, target: CudaTarget, schedule: Schedule | None = None) -> GpuKernel:
    """The kernel (control, sampling, logits, sampled).

    `sampling` [rows, 5] has temperature, top_p, a number from [0, 1) and min_p as the bits of
    float32 in words 0, 1, 3 and 4, and top_k in word 2; `sampled` [rows, 2] takes the token and a
    mark: 1 where a logit of the row is not a number, 2 where all are minus infinity.
    """
    schedule = schedule or Schedule()
    pitch = padded(spec.vocabulary)
    buffers = (
        CONTROL,
        integers("sampling", "logit_rows", WORDS),
        values("logits", Element.F32, "logit_rows", pitch),
        integers("sampled", "logit_rows", 2),
    )
    constants = {
        "LIVE": LIVE_WORD["logit_rows"],
        "WORDS": WORDS,
        "COLUMNS": spec.vocabulary,
        "PITCH": pitch,
        "BLOCK": min(power_of_two(spec.vocabulary), schedule.block),
    }
    grid = row_grid("logit_rows")
    launch = Launch(choose, grid, pointers(buffers), constants, schedule.warps, stages=1)
    return GpuKernel(spec.symbol, parameters(buffers), (launch,))
