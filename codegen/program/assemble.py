"""The program of an artifact: the phases of every target over one table of values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xdsl.dialects.builtin import ModuleOp

from sala_compile.codegen.program.buffers import GPU
from sala_compile.codegen.program.phases import LOGITS, PhaseBuilder, ValueTable, phase_builders
from sala_compile.codegen.program.sampling_steps import sampling_phase
from sala_compile.codegen.program.stored_state import paging_of, pools_of
from sala_compile.codegen.targets import library_name
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.runtime.artifact import (
    AttentionPath,
    Observation,
    PhaseName,
    Program,
    TargetProgram,
)
from sala_compile.runtime.artifact.program import READ_MULTIPLE, REQUIRED_INPUTS
from sala_compile.sala_ir.dialect.kernel_call import KernelCallOp


@dataclass(slots=True)
class Assembly:
    """The program while targets are added to it."""

    table: ValueTable = field(default_factory=ValueTable)
    targets: dict[str, TargetProgram] = field(default_factory=dict)
    observable: dict[str, list[Observation]] = field(default_factory=dict)

    def add(
        self,
        target: str,
        module: ModuleOp,
        kind: str = "cpu",
        sampling: KernelChoice | None = None,
        read_multiple: int = READ_MULTIPLE,
    ) -> None:
        """Add the phases of a target, with one that chooses tokens where a kernel does.

        GPUs have other kernels for generated tokens, which therefore run in a phase of their own.
        What can be observed is taken from the first target.
        """
        prefix = f"{target}/" if self.targets else ""
        builders = phase_builders(module, self.table, prefix, kind)
        phases = {name: builder.build() for name, builder in builders.items()}
        if sampling is not None:
            phases[PhaseName.SAMPLE] = sampling_phase(sampling, self.table)
        self.targets[target] = TargetProgram(
            library=library_name(target),
            read_multiple=read_multiple,
            splits=kind == GPU,
            phases=phases,
        )
        if not self.observable:
            for builder in builders.values():
                self._observe(builder)

    def program(self, paths: tuple[AttentionPath, ...]) -> Program:
        """The program of everything added: its inputs and page groups are those that steps read."""
        states = self.table.states
        for name in sorted(REQUIRED_INPUTS):
            self.table.input(name)
        return Program(
            paging=paging_of(kind for kinds in states.values() for kind in kinds.values()),
            pools=pools_of(states),
            paths=paths,
            logits=LOGITS,
            values=self.table.values,
            targets=self.targets,
            observable={kind: tuple(found) for kind, found in self.observable.items()},
        )

    def _observe(self, builder: PhaseBuilder) -> None:
        calls = builder.intervals.calls
        for call in calls:
            computes = _computes(call)
            if computes == "select_blocks":
                self._note("selected_blocks", builder, call, {"blocks": 0, "counts": 1})
            elif computes == "select_pools":
                self._note("selected_pools", builder, call, {"value": 0})
            elif computes == "route":
                self._note("experts", builder, call, {"value": 0})
            elif computes == "attend_blocks":
                self._note("blocks_read", builder, call, {"value": 1})
        if builder.phase is not PhaseName.LOGITS:
            for call in residual_stream(calls):
                self._note("hidden", builder, call, {"value": 0})

    def _note(
        self, kind: str, builder: PhaseBuilder, call: KernelCallOp, roles: Mapping[str, int]
    ) -> None:
        values = {role: builder.names[call.results[index]] for role, index in roles.items()}
        found = Observation(layer=call.layer, phase=builder.phase, values=values)
        self.observable.setdefault(kind, []).append(found)


def residual_stream(calls: Sequence[KernelCallOp]) -> list[KernelCallOp]:
    """The calls whose first result is the residual stream before layer 0 and after each layer.

    Where there are several streams, they begin as copies of the embedding.
    """
    last: dict[int | None, KernelCallOp] = {}
    for call in calls:
        if call.layer is not None:
            last[call.layer] = call
        elif _computes(call) in ("embedding", "spread_streams"):
            last[None] = call
    return list(last.values())


def _computes(call: KernelCallOp) -> str:
    mark = call.attributes.get("computes")
    return str(getattr(mark, "data", ""))
