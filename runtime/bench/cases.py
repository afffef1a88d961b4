"""Kernel calls taken out of a running model, to be made again by other builds of the kernel."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
    TargetProgram,
    Value,
    ValueKind,
    align,
    evaluate,
    widen_bfloat16,
)
from sala_compile.runtime.devices.cpu.program import CpuProgram
from sala_compile.runtime.devices.device import POISON, Hooks, StepSizes

WEIGHT_SETS = 8
"""Layers whose weights take turns."""

Kernel = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two results: equal to the bit, else the largest difference and the largest value.

    The difference is infinite where integers differ, or a number stands beside none.
    """

    equal: bool
    difference: float
    largest: float


@dataclass(frozen=True, slots=True)
class _Buffer:
    """Memory that one or several arguments share: what was in it, and a copy to work on."""

    saved: np.ndarray
    work: np.ndarray


class Case:
    """One call of a kernel with copies of its operands; `weights` are those of several layers."""

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
        self._kinds = [program.values[name].kind for name in step.arguments]
        self._types = [program.values[name].dtype for name in step.arguments]
        arrays = [np.from_dlpack(argument) for argument in arguments]
        self._weights = weights
        self._buffers: dict[int, _Buffer] = {}
        self._views: list[np.ndarray | None] = []
        copied = [
            array if kind not in (ValueKind.WEIGHT, ValueKind.WORKSPACE) else None
            for array, kind in zip(arrays, self._kinds, strict=True)
        ]
        sizes: dict[int, int] = {}
        for array in copied:
            if array is not None:
                sizes[array.ctypes.data] = max(array.nbytes, sizes.get(array.ctypes.data, 0))
        for array in copied:
            self._views.append(None if array is None else self._view(array, sizes))
        for buffer in self._buffers.values():
            buffer.work[:] = buffer.saved
        control = next(
            view
            for name, view in zip(step.arguments, self._views, strict=True)
            if name == "control" and view is not None
        )
        self.rows = int(control[2] if phase is PhaseName.LOGITS else control[0])

    def calls(
        self,
        kernel: Kernel,
        workspaces: Iterable[Value],
        symbols: Symbols,
        *,
        single: bool = False,
    ) -> list[Callable[[], Any]]:
        """Calls of `kernel` with these workspaces, one for each layer's weights."""
        scratch = [_poisoned(workspace, symbols) for workspace in workspaces]
        made = []
        for weights in self._weights[: 1 if single else None]:
            left, rest = iter(weights), iter(scratch)
            arguments = [
                next(left)
                if kind is ValueKind.WEIGHT
                else tvm_ffi.from_dlpack(next(rest) if view is None else view)
                for kind, view in zip(self._kinds, self._views, strict=True)
            ]
            made.append(lambda kernel=kernel, arguments=tuple(arguments): kernel(*arguments))
        return made

    def results(self, call: Callable[[], Any]) -> list[np.ndarray]:
        """What the operands hold after `call`, made from what they held when they were taken."""
        for buffer in self._buffers.values():
            buffer.work[:] = buffer.saved
        call()
        return [view.copy() for view in self._views if view is not None]

    def compare(self, found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> Comparison:
        """Two results of `results`."""
        types = [
            dtype for dtype, view in zip(self._types, self._views, strict=True) if view is not None
        ]
        pairs = [
            _compare(one, other, dtype)
            for one, other, dtype in zip(found, expected, types, strict=True)
        ]
        return Comparison(
            all(pair.equal for pair in pairs),
            max((pair.difference for pair in pairs), default=0.0),
            max((pair.largest for pair in pairs if not pair.equal), default=0.0),
        )

    def _view(self, array: np.ndarray, sizes: dict[int, int]) -> np.ndarray:
        place, size = array.ctypes.data, sizes[array.ctypes.data]
        if place not in self._buffers or array.nbytes == size:
            saved = np.empty(size, np.uint8)
            saved[: array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            known = self._buffers.get(place)
            work = _aligned(size) if known is None else known.work
            self._buffers[place] = _Buffer(saved, work)
        work = self._buffers[place].work
        return work[: array.nbytes].view(array.dtype).reshape(array.shape)


class Capturing:
    """A program that takes a case of every kernel of a phase, of the first step that calls it."""

    def __init__(
        self,
        program: CpuProgram,
        target: TargetProgram,
        values: Program,
        cases: dict[tuple[PhaseName, str], Case],
    ) -> None:
        """`cases` receives what is taken."""
        self._program, self._target = program, target
        self._values, self._cases = values, cases

    @property
    def phases(self) -> frozenset[PhaseName]:
        """The phases that there are."""
        return self._program.phases

    def run(self, phase: PhaseName, sizes: StepSizes, hooks: Hooks | None = None) -> None:
        """Run every step, and before the first of each kernel copy its operands."""
        self._program.enter()
        seen: set[str] = set()
        steps = self._target.phases[phase].steps
        for (kernel, arguments), step in zip(self._program.calls[phase], steps, strict=True):
            if step.kernel not in seen:
                seen.add(step.kernel)
                weights = self._weights(phase, step.kernel)
                case = Case(phase, step, self._values, arguments, weights)
                self._cases[phase, step.kernel] = case
            kernel(*arguments)

    def close(self) -> None:
        """Let go of the program."""
        self._program.close()

    def _weights(self, phase: PhaseName, symbol: str) -> list[list[Any]]:
        steps = self._target.phases[phase].steps
        found = [
            [
                argument
                for argument, name in zip(arguments, step.arguments, strict=True)
                if self._values.values[name].kind is ValueKind.WEIGHT
            ]
            for (_, arguments), step in zip(self._program.calls[phase], steps, strict=True)
            if step.kernel == symbol
        ]
        return found[:WEIGHT_SETS]


def _compare(found: np.ndarray, expected: np.ndarray, dtype: ElementType) -> Comparison:
    if found.tobytes() == expected.tobytes():
        return Comparison(True, 0.0, 0.0)
    if dtype is ElementType.UINT16:
        found, expected = widen_bfloat16(found), widen_bfloat16(expected)
    elif dtype is not ElementType.FLOAT32:
        return Comparison(False, float("inf"), 0.0)
    with np.errstate(invalid="ignore"):
        difference = np.abs(found.astype(np.float64) - expected)
    difference[(found == expected) | (np.isnan(found) & np.isnan(expected))] = 0.0
    difference[np.isnan(difference)] = np.inf
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    return Comparison(False, float(difference.max()), float(largest))


def _poisoned(value: Value, symbols: Symbols) -> np.ndarray:
    shape = tuple(evaluate(dim, symbols) for dim in value.shape)
    size = int(np.prod(shape)) * value.dtype.itemsize
    memory = _aligned(size)
    memory[:] = POISON
    return memory.view(value.dtype.numpy).reshape(shape)


def _aligned(size: int) -> np.ndarray:
    memory = np.empty(align(size) + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]
