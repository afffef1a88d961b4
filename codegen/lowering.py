"""The captured module taken through the passes for each target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import lcm

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation
from xdsl.passes import ModulePass

from sala_compile.codegen.graph_header import GraphHeader
from sala_compile.codegen.integer_activations import activations_for
from sala_compile.codegen.kernels.registry import family
from sala_compile.codegen.kernels.schedules import Schedules, read_schedules
from sala_compile.codegen.kernels.select import selector_for
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.program.sampling_steps import chosen_kernel
from sala_compile.codegen.progress import Progress
from sala_compile.codegen.targets import Target, parse_target
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.fuse_norm_calls import Splitter, never
from sala_compile.passes.pipeline import Callback, begin_after, run_pipeline, sala_pipeline
from sala_compile.passes.select_kernels import SelectKernels
from sala_compile.passes.support.callbacks import (
    DumpEach,
    PassRecord,
    RecordEach,
    verify_each,
    verify_ends,
)
from sala_compile.passes.support.kernel_choice import KernelChoice, NoKernel, Selector
from sala_compile.passes.support.kernel_log import ChosenKernel, chosen_kernels
from sala_compile.runtime.artifact.program import READ_MULTIPLE


@dataclass(frozen=True, slots=True)
class Lowered:
    """A module of kernel calls for one target.

    `operations` is the module before kernels were chosen, and `choices` the kernel of each of its
    operations: what the kernels must compute. `sampling` is the kernel that chooses tokens,
    `schedules` are those of tuned kernels, `notes` what a user should know about them.
    """

    name: str
    target: Target
    module: ModuleOp
    operations: ModuleOp
    choices: Mapping[Operation, KernelChoice]
    records: tuple[PassRecord, ...]
    sampling: KernelChoice | None = None
    schedules: Schedules = field(default_factory=Schedules)
    notes: tuple[str, ...] = ()

    @property
    def kernels(self) -> tuple[ChosenKernel, ...]:
        """The kernels to build."""
        extra = () if self.sampling is None else (chosen_kernel(self.sampling),)
        return chosen_kernels(self.module) + extra

    @property
    def read_multiple(self) -> int:
        """At which absolute multiples reading may be cut without a change of bits."""
        kind, own = self.target.kind, self.schedules
        return lcm(
            READ_MULTIPLE,
            *(
                family(each.family, kind).multiple(each.spec, self.target, own.of(each.symbol))
                for each in self.kernels
            ),
        )


def parse_targets(names: Sequence[str]) -> dict[str, Target]:
    """The targets by the names that the user gave them; CompileError for an unknown one."""
    return {name: parse_target(name) for name in names}


class _SelectionRecorder:
    """Keeps the module as it was before kernels are chosen, and the choices."""

    def __init__(self, selector: Selector) -> None:
        self.operations: ModuleOp | None = None
        self.choices: dict[Operation, KernelChoice] = {}
        self._selector = selector
        self._copies: dict[Operation, Operation] = {}

    def select(self, op: Operation) -> KernelChoice | NoKernel:
        """Return the selector's answer, and note it."""
        answer = self._selector(op)
        if isinstance(answer, KernelChoice):
            self.choices[self._copies[op]] = answer
        return answer

    def keep(
        self, previous: ModulePass | None, module: ModuleOp, following: ModulePass | None
    ) -> None:
        """Copy the module before the selection."""
        if following is not None and following.name == SelectKernels.name:
            self.operations = module.clone()
            self._copies = dict(zip(module.walk(), self.operations.walk(), strict=True))


def lower(
    captured: ModuleOp,
    name: str,
    target: Target,
    options: CompileOptions,
    progress: Progress,
    header: GraphHeader | None = None,
) -> Lowered:
    """Take a copy of the captured module through the passes, or through those after a stage.

    `header` is what graphs that are dumped say of themselves, and where the passes begin.
    """
    header = header or GraphHeader()
    schedules, notes = _schedules(target, options)
    selection = _SelectionRecorder(selector_for(target, schedules))
    activations = activations_for(target, options)
    every = sala_pipeline(
        options.dtype,
        selection.select,
        options.quantization,
        activations,
        splitter_for(target),
        options.page_size,
        options.kv,
    )
    passes = begin_after(every, header.stage)
    module = captured.clone()
    with progress.stage(f"passes for {name}", len(passes), unit="passes") as advance:
        recorder = RecordEach(lambda record: advance(1))
        verify = verify_ends if options.dump_ir is None else verify_each
        callbacks: list[Callback] = [verify, selection.keep]
        if options.dump_ir is not None:
            several = len(options.targets) > 1
            folder = name.replace(":", "-") if several else ""
            first = len(every) - len(passes)
            callbacks.append(
                DumpEach(options.dump_ir / folder, header.attributes, header.stage, first)
            )
        run_pipeline(module, passes, [*callbacks, recorder], stop_after=options.stop_after)
    operations = selection.operations or module
    lowered = Lowered(
        name,
        target,
        module,
        operations,
        selection.choices,
        tuple(recorder.records),
        schedules=schedules,
    )
    return replace(lowered, notes=(*notes, *_used(lowered)))


def splitter_for(target: Target) -> Splitter:
    """How a GPU's kernels share the work of norms; on a CPU a norm is a call of its own."""
    if not isinstance(target, CudaTarget):
        return never
    from sala_compile.codegen.norm_split import (
        split_norm,  # its kernels need Triton, which only GPUs do
    )

    return partial(split_norm, target)


def _schedules(target: Target, options: CompileOptions) -> tuple[Schedules, list[str]]:
    if options.tuning is None or not isinstance(target, CpuTarget):
        return Schedules(), []
    return read_schedules(options.tuning, target)


def _used(lowered: Lowered) -> list[str]:
    """How many kernels got the requested schedules."""
    if not lowered.schedules.kernels:
        return []
    symbols = [kernel.symbol for kernel in lowered.kernels]
    known = sum(symbol in lowered.schedules.kernels for symbol in symbols)
    changed = sum(lowered.schedules.of(symbol) is not None for symbol in symbols)
    return [
        f"of {len(symbols)} kernels for {lowered.name}, {known} were tuned, and {changed} have "
        "other tiles than by default"
    ]
