"""Schedules that were tuned: read back, and given to the kernels that they were made for."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from sala_compile.codegen.kernels.registry import family
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.runtime.artifact.tuning import TunedKernel, Tuning, read_tuning
from sala_compile.runtime.common.json_text import quoted
from sala_compile.runtime.errors import ArtifactError, CompileError

COMPILERS = ("sala-compile", "apache-tvm", "apache-tvm-ffi")
"""Packages whose versions a schedule was tuned for."""


@dataclass(frozen=True, slots=True)
class Schedules:
    """The tuned schedules for one target; kernels without one take their default."""

    kernels: Mapping[str, TunedKernel] = field(default_factory=dict)

    def of(self, symbol: str) -> Any:
        """The Schedule for a kernel; None for its default."""
        kernel = self.kernels.get(symbol)
        if kernel is None or kernel.is_default:
            return None
        return schedule_of(symbol, kernel)

    def apply(self, choice: KernelChoice) -> KernelChoice:
        """The choice with the workspaces that its schedule needs."""
        schedule = self.of(choice.symbol)
        if schedule is None:
            return choice
        chosen = family(choice.family)
        spec = chosen.spec.parse(choice.spec)
        return replace(choice, workspaces=chosen.workspaces(spec, schedule))


def read_schedules(path: Path, target: CpuTarget) -> tuple[Schedules, list[str]]:
    """The schedules in a tuning file that fit the target, and notes on why others do not.

    ArtifactError if the file is damaged or a schedule in it makes no sense.
    """
    tuning = read_tuning(path)
    reason = _misfit(tuning, target)
    if reason is not None:
        return Schedules(), [f"{path} is not used: {reason}"]
    found = Schedules(tuning.kernels)
    for symbol in tuning.kernels:
        found.of(symbol)
    return found, []


def schedule_of(symbol: str, kernel: TunedKernel) -> Any:
    """The Schedule in a record; ArtifactError if spec or schedule are not the family's."""
    try:
        chosen = family(kernel.family)
        if chosen.spec.parse(kernel.spec).symbol != symbol:
            raise ValueError("the constants are those of another kernel")
        for kind in chosen.schedules:
            if {each.name for each in fields(kind)} == set(kernel.schedule):
                return TypeAdapter(kind).validate_python(kernel.schedule)
        raise ValueError(f"its fields are {quoted(sorted(kernel.schedule))}")
    except (CompileError, AttributeError, ValueError, TypeError, KeyError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise ArtifactError(
            f"the record of {quoted(symbol)} makes no sense: {reason}",
            where="the tuning file",
            expected="a schedule of a family of kernels that has some",
            fix="tune again",
        ) from None


def schedule_values(schedule: Any) -> dict[str, Any]:
    """A Schedule as a record keeps it."""
    return asdict(schedule)


def compiler_versions() -> dict[str, str]:
    """The versions that a tuning belongs to."""
    return {name: version(name) for name in COMPILERS}


def _misfit(tuning: Tuning, target: CpuTarget) -> str | None:
    if tuning.processor != target.name:
        return f"it was made for {tuning.processor}, not for {target.name}"
    for name, ours in compiler_versions().items():
        if tuning.versions.get(name) != ours:
            return f"it was made with {name} {tuning.versions.get(name)}, this is {ours}"
    return None
