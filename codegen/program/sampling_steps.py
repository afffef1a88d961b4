"""The phase that chooses tokens where the logits are, on devices that can."""

from dataclasses import replace

from sala_compile.codegen.kernels.arguments import Argument, Role
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
    from sala_compile.codegen.kernels.sample.gpu.kernel import (  # needs Triton
        FAMILY,
        LARGEST,
        Spec,
    )

    if vocabulary > LARGEST:
        return None
    return replace(FAMILY.choice(Spec(vocabulary), target), rule=FAMILY.name)


def chosen_kernel(choice: KernelChoice) -> ChosenKernel:
    """The choice as one of the kernels to build."""
    return ChosenKernel(choice.symbol, choice.family, choice.rule, choice.rejected, choice.spec)


def sampling_phase(choice: KernelChoice, table: ValueTable) -> Phase:
    """One step from the logits and the draws to tokens; other results are its scratch memory."""
    names = {
        "control": table.input(InputName.CONTROL.value),
        "batch:sampling": table.input(InputName.SAMPLING.value),
        "in:0": LOGITS,
    }
    live = {LOGITS: (0, 0)}
    for each in _results(choice):
        name = SAMPLED if each.result == 0 else f"{SAMPLED}.{each.name}"
        shape = (dim_of(Symbol.LOGIT_ROWS), *map(int, each.shape[1:]))
        value = Value(kind=ValueKind.ACTIVATION, dtype=ElementType(each.dtype), shape=shape)
        names[f"out:{each.result}"] = table.declare(name, value)
        live[name] = (0, 0)
    arguments = tuple(names[text] for text in choice.arguments)
    step = Step(kernel=choice.symbol, family=choice.family, arguments=arguments)
    return Phase(steps=(step,), live=live)


def _results(choice: KernelChoice) -> list[Argument]:
    from sala_compile.codegen.kernels.sample.gpu.kernel import FAMILY, Schedule

    declared = FAMILY.arguments(FAMILY.spec.parse(choice.spec), Schedule())
    return [each for each in declared if each.role is Role.OUTPUT]
