"""The phase that chooses tokens where the logits are, on devices that can."""

from dataclasses import replace

from sala_compile.codegen.program.phases import LOGITS, ValueTable
from sala_compile.codegen.targets import Target
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.passes.support.kernel_log import ChosenKernel
from sala_compile.runtime.artifact import (
    ElementType,
    InputName,
    Phase,
    Step,
    Symbol,
    Value,
    ValueKind,
    dim_of,
)

SAMPLED = "sampled"
"""The value that the phase writes: for each row of logits a token, which the next step may be fed
with, and a mark: 1 if a logit is not a number, 2 if all are minus infinity."""


def sampling_choice(target: Target, vocabulary: int) -> KernelChoice | None:
    """The kernel that chooses tokens; None if the host does."""
    if not target.samples_tokens:
        return None
    from sala_compile.codegen.kernels.sample.gpu.kernel import FAMILY, Spec  # needs Triton

    return replace(FAMILY.choice(Spec(vocabulary), target), rule=FAMILY.name)


def chosen_kernel(choice: KernelChoice) -> ChosenKernel:
    """The choice as one of the kernels to build."""
    return ChosenKernel(choice.symbol, choice.family, choice.rule, choice.rejected, choice.spec)


def sampling_phase(choice: KernelChoice, table: ValueTable) -> Phase:
    """One step from the logits and the draws to tokens."""
    shape = (dim_of(Symbol.LOGIT_ROWS), 2)
    tokens = Value(kind=ValueKind.ACTIVATION, dtype=ElementType.INT32, shape=shape)
    names = {
        "control": table.input(InputName.CONTROL.value),
        "batch:sampling": table.input(InputName.SAMPLING.value),
        "in:0": LOGITS,
        "out:0": table.declare(SAMPLED, tokens),
    }
    arguments = tuple(names[text] for text in choice.arguments)
    step = Step(kernel=choice.symbol, family=choice.family, arguments=arguments)
    return Phase(steps=(step,), live={LOGITS: (0, 0), SAMPLED: (0, 0)})
