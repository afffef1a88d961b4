"""Kernels and program held against each other: every argument has the shape its kernel wants."""

from collections.abc import Iterator, Mapping
from typing import Any

from runtime.artifact import ElementType, Polynomial, Program, Value
from runtime.errors import CompileError


def check_calls(program: Program, target: str, functions: Mapping[str, Any]) -> None:
    """Raise CompileError where a step hands a kernel something else than it was built for."""
    for phase, steps in program.targets[target].phases.items():
        for index, step in enumerate(steps.steps):
            reason = _mismatch(step.arguments, program.values, functions[step.kernel])
            if reason:
                raise CompileError(
                    f"the kernel {step.kernel} does not fit its call: {reason}",
                    where=f"step {index} of {phase.value}",
                    fix="report this: a rule and its kernel disagree",
                )


def _mismatch(arguments: tuple[str, ...], values: Mapping[str, Value], function: Any) -> str | None:
    buffers = [parameter.ty for parameter in function.params]
    if len(buffers) != len(arguments):
        return f"it takes {len(buffers)} arguments, not {len(arguments)}"
    for name, buffer in zip(arguments, buffers, strict=True):
        value = values[name]
        dtype = ElementType(str(buffer.dtype))
        if dtype is not value.dtype:
            return f"{name} is {value.dtype}, the kernel reads {dtype}"
        if not _fits(value, buffer):
            return f"{name} is {list(_shape(value))}, the kernel reads {list(buffer.shape)}"
    return None


def _fits(value: Value, buffer: Any) -> bool:
    if len(buffer.shape) != len(value.shape):
        return False
    wanted = (getattr(dim, "value", None) for dim in buffer.shape)
    return all(size is None or size == dim for size, dim in zip(wanted, value.shape, strict=True))


def _shape(value: Value) -> Iterator[Any]:
    return (dim.terms if isinstance(dim, Polynomial) else dim for dim in value.shape)
