"""Kernels checked while a step runs: reference inputs, compared results."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from sala_compile.runtime.artifact import Artifact, KernelVector, PhaseName, Step, ValueKind
from sala_compile.runtime.devices.device import POISON, BoundProgram, Hooks, Memory, StepSizes
from sala_compile.runtime.golden.comparison import Comparison, GoldenTensors, malformed
from sala_compile.runtime.golden.drawn_state import new_rows
from sala_compile.runtime.state.state_layout import StateLayout
from sala_compile.runtime.state.store import State


class KernelChecks:
    """The vectors of a target's kernels, one after the other in a step of a loaded model.

    `found` has the comparisons of each vector.
    """

    def __init__(
        self,
        artifact: Artifact,
        target: str,
        vectors: tuple[KernelVector, ...],
        tensors: GoldenTensors,
        memory: Memory,
    ) -> None:
        """ArtifactError if a vector is not of a step of the program."""
        self._program = artifact.program
        self._phases = artifact.program.targets[target].phases
        self._tensors, self._memory = tensors, memory
        self._steps = [(vector, self._step(vector)) for vector in vectors]
        self.found: dict[str, list[Comparison]] = {vector.name: [] for vector in vectors}

    def wrap(self, program: BoundProgram) -> BoundProgram:
        """The program, whose runs are checked."""
        return _Held(program, self)

    def before(self, phase: PhaseName) -> dict[int, Callable[[], None]]:
        """The hooks before steps of a phase."""
        return {
            vector.step: partial(self._prepare, vector, step)
            for vector, step in self._steps
            if vector.phase is phase
        }

    def after(self, phase: PhaseName) -> dict[int, Callable[[], None]]:
        """The hooks after steps of a phase."""
        return {
            vector.step: partial(self._compare, vector)
            for vector, _ in self._steps
            if vector.phase is phase
        }

    def compare_states(
        self, sequence: int, layout: StateLayout, state: State, history: int
    ) -> None:
        """Compare the rows that the step gave to the pools of a sequence, after it."""
        wanted = [(vector, pool) for vector, _ in self._steps for pool in vector.states]
        if not wanted:
            return
        rows = dict(new_rows(layout, self._memory, state, history))
        for vector, pool in wanted:
            parts = vector.states[pool]
            if pool not in rows or sequence >= len(parts):
                raise malformed(
                    f"{pool} of sequence {sequence} is no state that a step writes",
                    f"one tensor for each sequence, of {', '.join(rows)}",
                    f"golden.json: {vector.name}",
                )
            if rows[pool].size:
                compared = self._tensors.compare(parts[sequence], rows[pool], vector.name)
                self.found[vector.name].append(compared)

    def _step(self, vector: KernelVector) -> Step:
        where = f"golden.json: {vector.name}"
        steps = self._phases[vector.phase].steps if vector.phase in self._phases else ()
        step = steps[vector.step] if vector.step < len(steps) else None
        if step is None or step.kernel != vector.kernel:
            raise malformed(
                f"step {vector.step} of {vector.phase.value} does not call {vector.kernel}",
                "a step of the program" if step is None else step.kernel,
                where,
            )
        values = self._program.values
        for name in (*vector.given, *vector.expected):
            known = name in step.arguments and values[name].kind is ValueKind.ACTIVATION
            if not known or (name in vector.given and values[name].dtype.numpy.kind == "i"):
                raise malformed(
                    f"{name} is no activation that {vector.kernel} takes",
                    "activations among " + ", ".join(step.arguments),
                    where,
                )
        return step

    def _prepare(self, vector: KernelVector, step: Step) -> None:
        """Poison what the kernel writes, then give it what it reads, which may lie there too."""
        places = self._memory.plan.places
        for name in step.arguments:
            kind = self._program.values[name].kind
            if name in vector.expected or kind is ValueKind.WORKSPACE:
                place = places[name]
                count = place.shape[0]
                rows = np.empty(place.shape, place.value.dtype.numpy)
                rows.view(np.uint8).fill(POISON)
                self._memory.write_rows(name, range(count), rows)
        for name, tensor in vector.given.items():
            place = places[name]
            dtype = place.value.dtype.numpy
            values = self._tensors.array(tensor, dtype, place.shape, vector.name)
            rows = np.zeros((len(values), *place.shape[1:]), dtype)
            rows[tuple(slice(extent) for extent in values.shape)] = values
            self._memory.write_rows(name, range(len(rows)), rows)

    def _compare(self, vector: KernelVector) -> None:
        for name, expected in vector.expected.items():
            place = self._memory.plan.places[name]
            found = np.empty(place.shape, place.value.dtype.numpy)
            self._memory.read(name, found)
            compared = self._tensors.compare(expected, found, vector.name)
            self.found[vector.name].append(compared)


class _Held:
    """A program with something to do before and after some of its steps."""

    def __init__(self, program: BoundProgram, checks: KernelChecks) -> None:
        self._program, self._checks = program, checks

    @property
    def phases(self) -> frozenset[PhaseName]:
        return self._program.phases

    def run(self, phase: PhaseName, sizes: StepSizes, hooks: Hooks | None = None) -> None:
        before, after = self._checks.before(phase), self._checks.after(phase)
        first = before.pop(0, None)
        if first is not None:
            first()
        self._program.run(phase, sizes, _joined(hooks or {}, before, after))

    def close(self) -> None:
        self._program.close()


def _joined(
    hooks: Hooks, before: Mapping[int, Callable[[], None]], after: Mapping[int, Callable[[], None]]
) -> Hooks:
    """After a step its own, then what the next one needs."""
    steps = {*hooks, *after, *(step - 1 for step in before)}
    return {
        step: [
            *hooks.get(step, ()),
            *([after[step]] if step in after else ()),
            *([before[step + 1]] if step + 1 in before else ()),
        ]
        for step in steps
    }
