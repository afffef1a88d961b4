"""A lower bound on the plans of a program, for many sizes: nothing is packed."""

import numpy as np

from sala_compile.runtime.artifact.format_model import align
from sala_compile.runtime.artifact.program import Program, Value
from sala_compile.runtime.plan.arena_packing import peak
from sala_compile.runtime.plan.memory import (
    MAX_BYTES,
    MemoryPart,
    arena_spans,
    measure,
    memory_of_pools,
    no_parts,
    outside_arena,
)
from sala_compile.runtime.plan.sizes import Sizes


class LeastMemory:
    """The parts of any plan for one target, without weights, the arena at its lower bound.

    Values of one type and shape are measured once for all of them: a model has thousands of values
    of a few dozen shapes.
    """

    def __init__(self, program: Program, target: str) -> None:
        self._paging = program.paging
        self._shapes: dict[tuple[object, ...], int] = {}
        self._examples: list[tuple[str, Value]] = []
        spans = arena_spans(program.targets[target])
        shapes = [self._shape(name, program.values[name]) for name in spans]
        self._arena_shapes = np.array(shapes, np.int64)
        self._first = np.array([first for first, _ in spans.values()], np.int64)
        self._last = np.array([last for _, last in spans.values()], np.int64)
        self._parts, memory = no_parts(program, target), memory_of_pools(program)
        self._outside = [
            (memory.get(name, MemoryPart.INPUTS), self._shape(name, value))
            for name, value in outside_arena(program, target).items()
        ]

    def parts(self, sizes: Sizes) -> dict[str, int]:
        """Bytes of each part for these sizes."""
        symbols = sizes.symbols(self._paging)
        measured = [align(measure(name, value, symbols)[1]) for name, value in self._examples]
        parts = dict(self._parts)
        parts[MemoryPart.ARENA] = self._arena(measured)
        for part, shape in self._outside:
            parts[part] += measured[shape]
        return parts

    def total(self, sizes: Sizes) -> int:
        """Bytes of all parts."""
        return sum(self.parts(sizes).values())

    def _arena(self, measured: list[int]) -> int:
        if not len(self._arena_shapes):
            return 0
        limited = np.array([min(size, MAX_BYTES) for size in measured], np.int64)
        return peak(limited[self._arena_shapes], self._first, self._last)

    def _shape(self, name: str, value: Value) -> int:
        """The number of the value's type and shape."""
        key = (value.dtype, value.shape)
        if key not in self._shapes:
            self._shapes[key] = len(self._examples)
            self._examples.append((name, value))
        return self._shapes[key]
