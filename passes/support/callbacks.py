"""What may be done around the passes of a pipeline: verify, dump, time, count, print."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Attribute
from xdsl.passes import ModulePass
from xdsl.utils.exceptions import VerifyException

from sala_compile.runtime.artifact.outputs import OutputRule
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.context import print_module

_DUMP = OutputRule(what="the module", error=CompileError, fix="name another directory")
CAPTURED = "captured"
"""The pass name of the module as the frontend made it."""


def verify_each(
    previous: ModulePass | None, module: ModuleOp, following: ModulePass | None
) -> None:
    """Verify the module before the first pass and after each one; `CompileError` names the pass."""
    try:
        module.verify()
    except VerifyException as error:
        raise CompileError(
            f"the module does not verify: {error}",
            where=f"after {_name(previous)}",
            fix="report this: a pass has broken the module",
        ) from error


def verify_ends(
    previous: ModulePass | None, module: ModuleOp, following: ModulePass | None
) -> None:
    """Verify the module before the first pass and after the last one: a tenth of the time."""
    if previous is None or following is None:
        verify_each(previous, module, following)


@dataclass(slots=True)
class DumpEach:
    """Write `000_captured.mlir`, `001_assign-precision.mlir`, ... into a directory."""

    directory: Path
    header: Callable[[str], Mapping[str, Attribute]] = lambda stage: {}
    """Attributes of the module after a pass, for the file alone."""
    stage: str = CAPTURED
    first: int = 0
    """The pass after which the pipeline begins, and the number of the first file."""
    written: list[Path] = field(default_factory=list[Path])

    def __call__(
        self, previous: ModulePass | None, module: ModuleOp, following: ModulePass | None
    ) -> None:
        """Write the module as it is now."""
        self.directory.mkdir(parents=True, exist_ok=True)
        name = self.stage if previous is None else previous.name
        number = self.first + len(self.written)
        path = self.directory / f"{number:03d}_{name}.mlir"
        _DUMP.write(path, print_module(module, self.header(name)).encode())
        self.written.append(path)


@dataclass(frozen=True, slots=True)
class PassRecord:
    """One pass that ran: operations in the module before and after, seconds."""

    name: str
    before: int
    after: int
    seconds: float


@dataclass(slots=True)
class RecordEach:
    """Counts operations around every pass and times it; place it last among the callbacks.

    As the last callback it starts its clock after the work of the others, and `report`, if
    given, receives every pass when it is done.
    """

    report: Callable[[PassRecord], None] | None = None
    records: list[PassRecord] = field(default_factory=list[PassRecord])
    _before: int = 0
    _start: float = 0.0

    def __call__(
        self, previous: ModulePass | None, module: ModuleOp, following: ModulePass | None
    ) -> None:
        """Close the record of the pass that ran and start that of the next."""
        seconds = perf_counter() - self._start
        count = operation_count(module)
        if previous is not None:
            record = PassRecord(previous.name, self._before, count, seconds)
            self.records.append(record)
            if self.report is not None:
                self.report(record)
        self._before, self._start = count, perf_counter()


def operation_count(module: ModuleOp) -> int:
    """The operations of a module, functions and the module itself not counted."""
    return sum(1 for op in module.walk() if not op.regions)


def _name(item: ModulePass | None) -> str:
    return CAPTURED if item is None else item.name
