"""Kernel calls recorded in a running model, to be repeated by other builds of the kernel."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import tvm_ffi

from sala_compile.runtime.artifact import (
    ALIGNMENT,
    ElementType,
    PhaseName,
    Program,
    Step,
    Symbols,
    Value,
    ValueKind,
    align,
    evaluate,
    widen_bfloat16,
)
from sala_compile.runtime.bench.recording import WatchedProgram
from sala_compile.runtime.devices.cpu.program import Call
from sala_compile.runtime.devices.device import POISON, BoundProgram

WEIGHT_SETS = 8
"""Layers whose weights are used in turn."""

Difference = tuple[bool, float, float]
"""Whether two results are equal to the bit; else the largest difference and the largest value.

The difference is infinite if integers differ, or if one of two values is not a number."""


class KernelCase:
    """One call of a kernel: its operands in the model's memory, and copies of what they held.

    The model does not run again while cases of it are called. `weights` are those of several
    layers, which take turns.
    """

    def __init__(
        self,
        phase: PhaseName,
        step: Step,
        program: Program,
        arguments: Sequence[Any],
        weights: Sequence[Sequence[Any]],
    ) -> None:
        """Copy what the arguments hold now."""
        self.phase, self.symbol = phase, step.kernel
        values = [program.values[name] for name in step.arguments]
        self._kinds = [value.kind for value in values]
        self._arguments, self._weights = arguments, weights
        self._operands = [
            (np.from_dlpack(argument), value.dtype)
            for argument, value in zip(arguments, values, strict=True)
            if value.kind not in (ValueKind.WEIGHT, ValueKind.WORKSPACE)
        ]
        self._saved = [array.copy() for array, _ in self._operands]
        control = np.from_dlpack(arguments[step.arguments.index("control")])
        self.rows = int(control[2] if phase is PhaseName.LOGITS else control[0])

    def calls(
        self,
        kernel: Callable[..., Any],
        workspaces: Iterable[Value],
        symbols: Symbols,
        *,
        single: bool = False,
    ) -> list[Callable[[], Any]]:
        """Calls of `kernel` with these workspaces, one for each layer's weights."""
        scratch = [_poisoned(workspace, symbols) for workspace in workspaces]
        made: list[Callable[[], Any]] = []
        for weights in self._weights[: 1 if single else None]:
            own = {ValueKind.WEIGHT: iter(weights), ValueKind.WORKSPACE: iter(scratch)}
            arguments = [
                next(own[kind]) if kind in own else argument
                for kind, argument in zip(self._kinds, self._arguments, strict=True)
            ]
            made.append(partial(kernel, *arguments))
        return made

    def results(self, call: Callable[[], Any]) -> list[np.ndarray]:
        """The values of the operands after `call`, which starts from the recorded values."""
        for (array, _), saved in zip(self._operands, self._saved, strict=True):
            array[...] = saved
        call()
        return [array.copy() for array, _ in self._operands]

    def compare(self, found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> Difference:
        """Two results of `results`."""
        kinds = [dtype for _, dtype in self._operands]
        pairs = [_compare(*each) for each in zip(found, expected, kinds, strict=True)]
        different = [pair for pair in pairs if not pair[0]] or [(True, 0.0, 0.0)]
        return (
            different[0][0],
            max(difference for _, difference, _ in different),
            max(largest for _, _, largest in different),
        )


def capturing(
    program: Program, target: str, cases: dict[tuple[PhaseName, str], KernelCase]
) -> Callable[[BoundProgram], BoundProgram]:
    """Wraps a program so that a case of every kernel of a phase comes into `cases`."""
    phases = program.targets[target].phases

    def watch(phase: PhaseName, index: int, calls: Sequence[Call]) -> None:
        steps = phases[phase].steps
        same = [n for n, step in enumerate(steps) if step.kernel == steps[index].kernel]
        if index == same[0]:
            weights = [_weights(program, steps[n], calls[n]) for n in same[:WEIGHT_SETS]]
            case = KernelCase(phase, steps[index], program, calls[index][1], weights)
            cases[phase, case.symbol] = case
        kernel, arguments = calls[index]
        kernel(*arguments)

    return lambda bound: WatchedProgram(bound, watch)


def _weights(program: Program, step: Step, call: Call) -> list[Any]:
    named = zip(call[1], step.arguments, strict=True)
    return [value for value, name in named if program.values[name].kind is ValueKind.WEIGHT]


def _compare(found: np.ndarray, expected: np.ndarray, dtype: ElementType) -> Difference:
    if found.tobytes() == expected.tobytes():
        return True, 0.0, 0.0
    if dtype is ElementType.UINT16:
        found, expected = widen_bfloat16(found), widen_bfloat16(expected)
    elif dtype is not ElementType.FLOAT32:
        return False, float("inf"), 0.0
    with np.errstate(invalid="ignore"):
        difference = np.abs(found.astype(np.float64) - expected)
    difference[(found == expected) | (np.isnan(found) & np.isnan(expected))] = 0.0
    difference[np.isnan(difference)] = np.inf
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    return False, float(difference.max()), float(largest)


def _poisoned(value: Value, symbols: Symbols) -> Any:
    shape = tuple(evaluate(dim, symbols) for dim in value.shape)
    size = int(np.prod(shape)) * value.dtype.itemsize
    memory = np.full(align(size) + ALIGNMENT, POISON, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    aligned = memory[start : start + size]
    return tvm_ffi.from_dlpack(aligned.view(value.dtype.numpy).reshape(shape))
