"""The plan of a compilation: the model, its lowered modules, the program and the weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from xdsl.dialects.builtin import ModuleOp

from sala_compile.codegen.graph_header import GraphHeader, shaped_by
from sala_compile.codegen.integer_activations import activations_for
from sala_compile.codegen.kernels.schedules import schedule_values
from sala_compile.codegen.lowering import Lowered
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.program.assemble import Assembly
from sala_compile.codegen.program.call_paths import attention_paths
from sala_compile.codegen.targets import Target
from sala_compile.codegen.weights.packing import PackedWeight
from sala_compile.codegen.weights.weight_table import WeightTable
from sala_compile.passes.support.callbacks import CAPTURED
from sala_compile.runtime.artifact import AttentionPath, KernelInfo, PassInfo, Program, Rejection
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.quantized import PublishedIntegers
from sala_compile.sala_ir.dialect import KernelCallOp
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr
from sala_compile.sala_ir.frontends import ModelFacts


@dataclass(frozen=True, slots=True)
class ModelSource:
    """What is compiled: the configuration as it is, what it says, and its tensors.

    `integers` are the tensors that come as integers: the captured module has their encodings.
    `published` reads them where the checkpoint stores them so. `end_tokens` end an answer.
    `notes` are sentences on the checkpoint that its user should read. `graph` is what a graph that
    was given says of itself; `captured` then is the module of its file.
    """

    raw: Mapping[str, Any]
    facts: ModelFacts
    tensors: Mapping[str, tuple[int, ...]]
    captured: ModuleOp
    checkpoint: Checkpoint | None
    integers: Mapping[str, EncodingAttr] = field(default_factory=dict)
    published: PublishedIntegers | None = None
    end_tokens: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    graph: GraphHeader | None = None

    @property
    def paths(self) -> tuple[AttentionPath, ...]:
        """The attention paths; those that an edited graph names where its operations are gone."""
        has_calls = any(isinstance(op, KernelCallOp) for op in self.captured.walk())
        if self.graph is not None and has_calls and self.graph.paths:
            return self.graph.paths
        return attention_paths(self.captured)

    @property
    def stage(self) -> str:
        """The pass after which the captured graph stands."""
        return CAPTURED if self.graph is None else self.graph.stage

    @property
    def parameters(self) -> int:
        """Number of values of all tensors."""
        return sum(prod(shape) for shape in self.tensors.values())


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about an artifact but its bytes."""

    source: ModelSource
    lowered: tuple[Lowered, ...]
    program: Program
    weights: WeightTable

    @property
    def has_operations(self) -> bool:
        """Whether it is known what the kernels compute: not for a graph of kernel calls."""
        return all(lowered.choices for lowered in self.lowered)

    @property
    def stored(self) -> tuple[PackedWeight, ...]:
        """The weights in the order in which they are stored: by the kinds that read them."""
        weights = self.weights.weights.values()
        order = list(dict.fromkeys(weight.readers for weight in weights))
        return tuple(sorted(weights, key=lambda weight: order.index(weight.readers)))

    @property
    def targets(self) -> dict[str, Target]:
        """The targets by name."""
        return {lowered.name: lowered.target for lowered in self.lowered}

    def stored_for(self, kind: str) -> tuple[PackedWeight, ...]:
        """The weights that targets of a kind read, in this order."""
        return tuple(weight for weight in self.stored if kind in weight.readers)

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


def graph_header(
    source: ModelSource, options: CompileOptions, name: str = "", target: Target | None = None
) -> GraphHeader:
    """What the graphs of a compilation say of themselves.

    Those on the way to a target, which has a name, also say where the weights are, which an
    artifact must not; their activations are those that the target has.
    """
    shaped, place = shaped_by(options), None
    if target is not None:
        shaped |= {"activations": activations_for(target, options).value, "target": name}
        place = None if options.checkpoint is None else options.checkpoint.resolve()
    return GraphHeader(
        stage=source.stage,
        facts=source.facts,
        options=shaped,
        paths=source.paths,
        checkpoint=place,
    )


def assemble(source: ModelSource, lowered: tuple[Lowered, ...]) -> Plan:
    """The program and the weights of all targets."""
    assembly = Assembly()
    for entry in lowered:
        assembly.add(
            entry.name, entry.module, entry.target.kind, entry.sampling, entry.read_multiple
        )
    program = assembly.program(source.paths)
    return Plan(source, lowered, program, assembly.table.weights)


def _schedule(tuned: Any) -> dict[str, Any]:
    return {} if tuned is None else schedule_values(tuned)
