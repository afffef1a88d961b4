"""tokens[r] chosen from logits[r] on a GPU, as the runtime's sampler chooses on the host."""

from dataclasses import dataclass

from codegen.kernels.operands import padded, spec_values, symbol_of
from codegen.kernels.sample.gpu_choose import choose_tokens
from codegen.kernels.tir.element import Element
from codegen.kernels.triton.buffers import CONTROL, integers, parameters, pointers, values
from codegen.kernels.triton.kernel import GpuKernel, Launch
from codegen.kernels.triton.rows import power_of_two, row_grid
from codegen.targets.cuda import CudaTarget
from passes.kernel_choice import KernelChoice

__all__ = ["Schedule", "Spec", "build", "choice"]

DRAW_WORDS = 4
"""Words that say how the token of a row is chosen."""


@dataclass(frozen=True, slots=True)
class Spec:
    """Logits of a row."""

    vocabulary: int

    @property
    def symbol(self) -> str:
        """A unique name: the logits of a row."""
        return symbol_of("sample", str(self.vocabulary), self)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Logits that the program of a row reads at a time."""

    block: int = 4096
    warps: int = 16


def choice(vocabulary: int) -> KernelChoice:
    """The kernel; `in:0` are the logits, `out:0` the tokens."""
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
    """The kernel (control, draws, logits, tokens)."""
    schedule = schedule or Schedule()
    pitch = padded(spec.vocabulary)
    buffers = (
        CONTROL,
        integers("draws", "draw_rows", DRAW_WORDS),
        values("logits", Element.F32, "logit_rows", pitch),
        integers("tokens", "token_rows"),
    )
    constants = {
        "VOCABULARY": spec.vocabulary,
        "PITCH": pitch,
        "BLOCK": min(schedule.block, power_of_two(spec.vocabulary, 32)),
    }
    launch = Launch(
        choose_tokens, row_grid("logit_rows"), pointers(buffers), constants, schedule.warps
    )
    return GpuKernel(spec.symbol, parameters(buffers), (launch,))
