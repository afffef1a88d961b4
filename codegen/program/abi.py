"""Kernels and program held against each other: every argument has the shape its kernel wants."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sala_compile.codegen.kernels.arguments import Arguments
from sala_compile.runtime.artifact import ElementType, Polynomial, Program, Value
from sala_compile.runtime.errors import CompileError


def check_calls(program: Program, target: str, kernels: Mapping[str, Arguments]) -> None:
    """Raise CompileError if a step hands a kernel something else than it was built for.

    `kernels` are the arguments of kernels by symbol, those that are handed over.
    """
    for phase, steps in program.targets[target].phases.items():
        for index, step in enumerate(steps.steps):
            reason = _mismatch(step.arguments, program.values, kernels[step.kernel])
            if reason:
                raise CompileError(
                    f"the kernel {step.kernel} does not fit its call: {reason}",
                    where=f"step {index} of {phase.value}",
                    fix="report this: a rule and its kernel disagree",
                )


def _mismatch(
    arguments: tuple[str, ...], values: Mapping[str, Value], parameters: Arguments
) -> str | None:
    if len(parameters) != len(arguments):
        return f"it takes {len(parameters)} arguments, not {len(arguments)}"
    for name, declared in zip(arguments, parameters, strict=True):
        value = values[name]
        if value.dtype is not ElementType(declared.dtype):
            return f"{name} is {value.dtype}, the kernel reads {declared.dtype}"
        if not _fits(value, declared.shape):
            return f"{name} is {list(_shape(value))}, the kernel reads {list(declared.shape)}"
    return None


def _fits(value: Value, shape: Sequence[Any]) -> bool:
    return len(shape) == len(value.shape) and all(
        isinstance(size, str) or size == dim for size, dim in zip(shape, value.shape, strict=True)
    )


def _shape(value: Value) -> Iterator[Any]:
    return (dim.terms if isinstance(dim, Polynomial) else dim for dim in value.shape)
