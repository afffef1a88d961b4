"""The captured module taken through the passes for each target."""

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp

from codegen.options import CompileOptions
from codegen.progress import Progress
from codegen.select import selector_for
from codegen.targets.cpu import CpuTarget
from passes.callbacks import DumpEach, PassRecord, RecordEach, verify_each
from passes.kernel_log import ChosenKernel, chosen_kernels
from passes.pipeline import Callback, run_pipeline, sala_pipeline

SELECTION = "select-kernels"


@dataclass(frozen=True, slots=True)
class Lowered:
    """A module of kernel calls for one target.

    `operations` is the module before kernels were chosen: what the kernels must compute.
    """

    name: str
    target: CpuTarget
    module: ModuleOp
    operations: ModuleOp
    records: tuple[PassRecord, ...]

    @property
    def kernels(self) -> tuple[ChosenKernel, ...]:
        """The kernels to build."""
        return chosen_kernels(self.module)


def parse_targets(names: Sequence[str]) -> dict[str, CpuTarget]:
    """The targets by the names that the user gave them; CompileError for an unknown one."""
    return {name: CpuTarget.parse(name) for name in names}


def lower(
    captured: ModuleOp, name: str, target: CpuTarget, options: CompileOptions, progress: Progress
) -> Lowered:
    """Take a copy of the captured module through the passes."""
    passes = sala_pipeline(options.dtype, selector_for(target))
    kept: list[ModuleOp] = []

    def keep(previous, module, following) -> None:
        if following is not None and following.name == SELECTION:
            kept.append(module.clone())

    with progress.stage(f"passes for {name}", len(passes), unit="passes") as advance:
        recorder = RecordEach(lambda record: advance(1))
        callbacks: list[Callback] = [verify_each, keep]
        if options.dump_ir is not None:
            several = len(options.targets) > 1
            folder = name.replace(":", "-") if several else ""
            callbacks.append(DumpEach(options.dump_ir / folder))
        module = captured.clone()
        run_pipeline(module, passes, [*callbacks, recorder], stop_after=options.stop_after)
    return Lowered(name, target, module, (kept or [module])[0], tuple(recorder.records))
