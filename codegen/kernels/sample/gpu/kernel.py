"""The next token of every row of logits, on a GPU."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, batch, given, result
from sala_compile.codegen.kernels.sample.gpu.choose_token import choose
from sala_compile.codegen.kernels.sample.gpu.group_peaks import measure_groups
from sala_compile.codegen.kernels.sample.gpu.kept_logits import LAST_COLUMN
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.triton.family import GpuFamily
from sala_compile.codegen.kernels.triton.kernel import Launch
from sala_compile.codegen.kernels.triton.launches import LIVE_WORD, constants_of, launch
from sala_compile.codegen.kernels.triton.rows import power_of_two, row_grid
from sala_compile.codegen.layouts.padding import padded

WORDS = 5
"""Words that say how a token is chosen."""
LARGEST = LAST_COLUMN.value + 1
"""Tokens of a vocabulary."""


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
    """Logits that a program reads at a time: `block` to measure, `turn` to choose, with `warps`.

    They are taken in groups of `group`, more where a row would have over `groups` of them.
    """

    group: int = 16
    groups: int = 8192
    block: int = 1024
    turn: int = 4096
    warps: int = 8

    def size(self, vocabulary: int) -> int:
        """Logits of a group."""
        return max(self.group, power_of_two(-(-vocabulary // self.groups)))

    def count(self, vocabulary: int) -> int:
        """Groups of a row, some without logits, so that accesses stay wide."""
        return padded(-(-vocabulary // self.size(vocabulary)))


def describe(op: object, target: object) -> str:
    """Refuse every operation of a model: `choice` gives the kernel of a vocabulary."""
    return "tokens are chosen after the model"


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call.

    `sampling` [rows, 5] has temperature, top_p, a number from [0, 1) and min_p as the bits of
    float32 in words 0, 1, 3 and 4, and top_k in word 2; `sampled` [rows, 2] takes the token and a
    mark: 1 if a logit of the row is not a number, 2 if all are minus infinity. `groups` and
    `listed` are scratch for each row.
    """
    groups = schedule.count(spec.vocabulary)
    return (
        *batch("control", "sampling"),
        given("logits", "f32", "logit_rows", padded(spec.vocabulary)),
        result("sampled", "i32", 2),
        result("groups", "f32", 2 * groups, number=1),
        result("listed", "i32", 2 * groups, number=2),
    )


def launches(spec: Spec, schedule: Schedule, arguments: Arguments) -> tuple[Launch, ...]:
    """Programs for each part of a row, then one for the row."""
    group = schedule.size(spec.vocabulary)
    groups = schedule.count(spec.vocabulary)
    part = max(1, schedule.block // group)
    # A group for each thread at least: what all agree on then comes through shared memory.
    width = power_of_two(groups, 32 * schedule.warps)
    constants = constants_of(
        spec,
        LIVE=LIVE_WORD["logit_rows"],
        WORDS=WORDS,
        COLUMNS=spec.vocabulary,
        PITCH=padded(spec.vocabulary),
        GROUP=group,
        GROUPS=groups,
        PART=part,
        WIDTH=width,
        TURN=min(width, max(1, schedule.turn // group)),
    )
    measures = row_grid("logit_rows", -(-groups // part))
    return (
        launch(measure_groups, measures, arguments, constants, warps=4, stages=1),
        launch(
            choose, row_grid("logit_rows"), arguments, constants, warps=schedule.warps, stages=1
        ),
    )


FAMILY = GpuFamily(
    name="sample",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    launches=launches,
)
