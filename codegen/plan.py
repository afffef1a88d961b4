"""A compilation on paper: the model, its lowered modules, the program and the weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from xdsl.dialects.builtin import ModuleOp

from codegen.assemble import Assembly, paging_of
from codegen.lowering import Lowered
from codegen.packing import PackedWeight
from codegen.schedules import schedule_values
from codegen.weight_table import WeightTable
from runtime.artifact import KernelInfo, PassInfo, Program, Rejection
from sala_ir.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class Source:
    """What is compiled: the configuration as it stands, as understood, and its tensors."""

    raw: Mapping[str, Any]
    config: Any
    tensors: Mapping[str, tuple[int, ...]]
    captured: ModuleOp
    checkpoint: Checkpoint | None

    @property
    def parameters(self) -> int:
        """Number of values of all tensors."""
        return sum(prod(shape) for shape in self.tensors.values())


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about an artifact but its bytes."""

    source: Source
    lowered: tuple[Lowered, ...]
    program: Program
    weights: WeightTable

    @property
    def stored(self) -> tuple[PackedWeight, ...]:
        """The weights in the order in which they are stored."""
        return tuple(self.weights.weights.values())

    @property
    def passes(self) -> tuple[PassInfo, ...]:
        """The passes of the first target, with operations before and after."""
        records = self.lowered[0].records
        return tuple(PassInfo(name=r.name, before=r.before, after=r.after) for r in records)

    @property
    def kernels(self) -> tuple[KernelInfo, ...]:
        """The kernels of all targets and why they were chosen."""
        return tuple(
            KernelInfo(
                symbol=kernel.symbol,
                family=kernel.family,
                rule=kernel.rule,
                target=lowered.name,
                spec=dict(kernel.spec),
                schedule=_schedule(lowered.schedules.of(kernel.symbol)),
                rejected=tuple(Rejection(rule=rule, reason=why) for rule, why in kernel.rejected),
            )
            for lowered in self.lowered
            for kernel in lowered.kernels
        )


def assemble(source: Source, lowered: tuple[Lowered, ...]) -> Plan:
    """The program and the weights of all targets."""
    assembly = Assembly()
    for entry in lowered:
        assembly.add(entry.name, entry.module)
    program = assembly.program(paging_of(lowered[0].module))
    return Plan(source, lowered, program, assembly.table.weights)


def _schedule(tuned: Any) -> dict[str, Any]:
    return {} if tuned is None else schedule_values(tuned)
