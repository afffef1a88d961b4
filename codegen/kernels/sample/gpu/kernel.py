"""The next token of every row of logits, on a GPU."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, batch, given, result
from sala_compile.codegen.kernels.sample.gpu.choose_token import choose
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.triton.family import GpuFamily
from sala_compile.codegen.kernels.triton.kernel import Launch
from sala_compile.codegen.kernels.triton.launches import LIVE_WORD, constants_of, launch
from sala_compile.codegen.kernels.triton.rows import power_of_two, row_grid
from sala_compile.codegen.layouts.padding import padded

WORDS = 5
"""Words that say how a token is chosen."""


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Constants of the choice: the size of the vocabulary."""

    vocabulary: int

    @property
    def label(self) -> str:
        """The family and the vocabulary, for names."""
        return f"sample_{self.vocabulary}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Logits that a program reads at a time, at most."""

    block: int = 4096
    warps: int = 16


def describe(op: object, target: object) -> str:
    """Refuse every operation of a model: `choice` gives the kernel of a vocabulary."""
    return "tokens are chosen after the model"


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call.

    `sampling` [rows, 5] has temperature, top_p, a number from [0, 1) and min_p as the bits of
    float32 in words 0, 1, 3 and 4, and top_k in word 2; `sampled` [rows, 2] takes the token and a
    mark: 1 if a logit of the row is not a number, 2 if all are minus infinity.
    """
    return (
        *batch("control", "sampling"),
        given("logits", "f32", "logit_rows", padded(spec.vocabulary)),
        result("sampled", "i32", 2),
    )


def launches(spec: Spec, schedule: Schedule, arguments: Arguments) -> tuple[Launch, ...]:
    """A program for each row."""
    constants = constants_of(
        spec,
        LIVE=LIVE_WORD["logit_rows"],
        WORDS=WORDS,
        COLUMNS=spec.vocabulary,
        PITCH=padded(spec.vocabulary),
        BLOCK=min(power_of_two(spec.vocabulary), schedule.block),
    )
    grid = row_grid("logit_rows")
    return (launch(choose, grid, arguments, constants, warps=schedule.warps, stages=1),)


FAMILY = GpuFamily(
    name="sample",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    launches=launches,
)
