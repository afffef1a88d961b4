"""Note on every kernel call how long its results live."""

from dataclasses import dataclass
from typing import Any, ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from sala_compile.passes.live_intervals import LiveValue, PhaseIntervals, phase_intervals
from sala_compile.passes.select_kernels import is_kernel_level
from sala_compile.passes.support.functions import argument_names, find_function
from sala_compile.runtime.artifact import MODEL_PHASES, Dim, PhaseName
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.dialect import KernelCallOp, StateType, attribute_of


@dataclass(frozen=True, slots=True)
class ModuleIntervals:
    """The live intervals of all phases: what the packing of memory at load starts from."""

    phases: dict[PhaseName, PhaseIntervals]


def plan_memory(module: ModuleOp) -> ModuleIntervals:
    """The intervals of a module of kernel calls; raises `CompileError` if other ops are left."""
    phases: dict[PhaseName, PhaseIntervals] = {}
    for phase in MODEL_PHASES:
        func = find_function(module, phase.value)
        if func is None:
            raise CompileError(
                f"the module has no function @{phase.value}",
                expected="a module after select-kernels",
                fix="run the passes before plan-intervals",
            )
        left = next((op for op in func.walk() if is_kernel_level(op)), None)
        if left is not None:
            raise CompileError(
                f"{left.name} is not a kernel call yet",
                where=f"@{phase.value}",
                expected="a module after select-kernels",
                fix="run select-kernels before plan-intervals",
            )
        phases[phase] = phase_intervals(func)
    return ModuleIntervals(phases)


def _describe(call: KernelCallOp, intervals: PhaseIntervals, names: dict[Any, str]) -> list[Any]:
    """For every result its interval and shape, or the pool that it is."""
    notes: list[Any] = []
    for result in call.results:
        if isinstance(result.type, StateType):
            notes.append({"pool": names[intervals.pools[result]]})
            continue
        notes.append(_describe_value(intervals.live[result]))
    return notes


def _describe_value(live: LiveValue) -> dict[str, Any]:
    shape = [dim_text(dim) for dim in live.shape]
    return {"first": live.first, "last": live.last, "shape": shape}


def dim_text(dim: Dim) -> str:
    """A dim as people read it: `4096`, `tokens`, `2*sequences + 1`."""
    if isinstance(dim, int):
        return str(dim)
    terms: list[str] = []
    for factor, symbols in dim.terms:
        factors = [str(factor)] if factor != 1 or not symbols else []
        terms.append("*".join([*factors, *symbols]))
    return " + ".join(terms)


@dataclass(frozen=True)
class PlanIntervals(ModulePass):
    """Attribute `live` of every kernel call: for each result the first and last step that need
    it, and its capacity; a state names its pool.

    The same as data is `plan_memory(module)`.
    """

    name: ClassVar[str] = "plan-intervals"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Annotate the module in place."""
        for intervals in plan_memory(op).phases.values():
            func = find_function(op, intervals.phase.value)
            assert func is not None, "plan_memory has found it"
            names = argument_names(func)
            for call in intervals.calls:
                call.attributes["live"] = attribute_of(_describe(call, intervals, names))
