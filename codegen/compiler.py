"""A whole compilation: from options to an artifact, or to a plan of one."""

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from sala_compile.codegen.build import write_files
from sala_compile.codegen.edited_graph import open_graph
from sala_compile.codegen.integer_activations import check_targets, wide_note
from sala_compile.codegen.kv_pages import check_page_targets
from sala_compile.codegen.lowering import Lowered, lower, parse_targets
from sala_compile.codegen.opening import open_source
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.plan import ModelSource, Plan, assemble, graph_header
from sala_compile.codegen.program.sampling_steps import sampling_choice
from sala_compile.codegen.progress import Progress
from sala_compile.codegen.quantization.quantization_report import quantization_note
from sala_compile.codegen.targets import Target
from sala_compile.codegen.targets.link import find_linker
from sala_compile.codegen.write.disk import file_errors, require_temporary_room
from sala_compile.codegen.write.emit import device_weight_bytes, weight_file_bytes
from sala_compile.codegen.write.weight_report import weights_document
from sala_compile.runtime.artifact import Manifest
from sala_compile.runtime.artifact.seeded import WARNING
from sala_compile.runtime.artifact.writer import ArtifactWriter, check_output, write_artifact
from sala_compile.runtime.common.threads import available_cpus
from sala_compile.runtime.plan import (
    USUAL_BUDGETS,
    Sizes,
    growth_document,
    largest_contexts,
    memory_document,
    plan_memory,
    token_parts,
)
from sala_compile.sala_ir.context import print_module

_UNCHECKED = (
    "the graph has kernel calls, not the operations that they compute: the artifact has no golden "
    "vectors, so that --verify checks its hashes alone"
)


@dataclass(frozen=True, slots=True)
class CompileResult:
    """`text` is the module of the first target, if the compilation stopped after a pass."""

    summary: dict[str, Any]
    text: str


def compile_model(options: CompileOptions, progress: Progress) -> CompileResult:
    """Compile as the options say. Raises SalaError for what the user can mend."""
    start = perf_counter()
    graph = None if options.graph is None else open_graph(options.graph)
    options = options if graph is None else graph.options(options)
    targets = parse_targets(options.targets)
    check_targets(options, targets)
    check_page_targets(options, targets)
    if options.writes and any(target.needs_linker for target in targets.values()):
        find_linker()
    with file_errors(), ExitStack() as stack:
        source = open_source(options, stack, graph)
        if options.output is not None and options.writes:
            check_output(options.output)
        lowered = tuple(
            _lowered(source, name, target, options, progress) for name, target in targets.items()
        )
        text = ""
        if options.stop_after is not None:
            header = graph_header(source, options, lowered[0].name, lowered[0].target)
            text = print_module(lowered[0].module, header.attributes(options.stop_after))
        summary = _summary(options, source, lowered)
        if options.stop_after is None:
            plan = assemble(source, lowered)
            summary["weights"] = weights_document(plan)
            summary |= memory_of(plan, options)
            summary["notes"] += [note for entry in lowered for note in entry.notes]
            summary["notes"] += wide_note(options, targets)
            summary["notes"] += [] if plan.has_operations else [_UNCHECKED]
            if options.output is not None and options.writes:
                manifest = _write(options.output, plan, options, progress)
                size = _bytes_in(options.output)
                summary["notes"] += _written_notes(manifest)
                summary["artifact"] = {"path": str(options.output), "bytes": size}
    summary["seconds"] = round(perf_counter() - start, 3)
    return CompileResult(summary, text)


def _lowered(
    source: ModelSource, name: str, target: Target, options: CompileOptions, progress: Progress
) -> Lowered:
    """The model for a target, with the kernel that chooses tokens where there is one."""
    header = graph_header(source, options, name, target)
    lowered = lower(source.captured, name, target, options, progress, header)
    return replace(lowered, sampling=sampling_choice(target, source.facts.vocabulary))


def _write(output: Path, plan: Plan, options: CompileOptions, progress: Progress) -> Manifest:
    """Write the artifact; returns its manifest without the hashes."""
    require_temporary_room()
    check_output(output, 0 if options.is_random else sum(each.nbytes for each in plan.stored))
    written: list[Manifest] = []

    def fill(writer: ArtifactWriter) -> Manifest:
        written.append(write_files(writer, plan, options, progress))
        return written[0]

    write_artifact(output, fill)
    return written[0]


def memory_of(plan: Plan, options: CompileOptions) -> dict[str, Any]:
    """The planned memory for one sequence of the default context, and the longest contexts.

    `memory` is that of the first target, `memory_by_target` that of the first of every kind.
    """
    firsts = {lowered.target.kind: lowered for lowered in reversed(plan.lowered)}
    documents = {
        lowered.name: _memory(plan, options, lowered) for lowered in reversed(firsts.values())
    }
    return {"memory": documents[plan.lowered[0].name], "memory_by_target": documents}


def _memory(plan: Plan, options: CompileOptions, lowered: Lowered) -> dict[str, Any]:
    target, kind = lowered.name, lowered.target.kind
    mapped = lowered.target.maps_weights
    sizes = Sizes(
        context=options.context,
        batch=1,
        chunk=options.chunk,
        sequences=1,
        workers=available_cpus() if mapped else 1,
    )
    stored = plan.stored_for(kind)
    is_mapped = mapped and not options.is_random
    weights = weight_file_bytes(stored) if is_mapped else device_weight_bytes(stored)
    planned = plan_memory(plan.program, target, sizes, weights)
    return memory_document(planned) | growth_document(
        token_parts(plan.program, target, sizes),
        largest_contexts(plan.program, target, sizes, weights, USUAL_BUDGETS),
    )


def _written_notes(manifest: Manifest) -> list[str]:
    notes = [] if manifest.seeded is None else [WARNING]
    if manifest.quantization is not None:
        notes.append(quantization_note(manifest.quantization))
    if manifest.activations is not None:
        notes.append(str(manifest.activations))
    if manifest.kv is not None:
        notes.append(str(manifest.kv))
    return notes


def _summary(
    options: CompileOptions, source: ModelSource, lowered: tuple[Lowered, ...]
) -> dict[str, Any]:
    return {
        "model": {
            "family": source.facts.family,
            "parameters": source.parameters,
            "layers": source.facts.layers,
            "vocabulary": source.facts.vocabulary,
        },
        "attention": options.attention.value,
        "dtype": options.dtype.value,
        "quantization": options.quantization.value,
        "activations": options.activations.value,
        "kv": options.kv.value,
        "context": options.context,
        "chunk": options.chunk,
        "passes": [
            {"name": r.name, "before": r.before, "after": r.after, "seconds": round(r.seconds, 4)}
            for r in lowered[0].records
        ],
        "kernels": {entry.name: _kernels(entry) for entry in lowered},
        "notes": list(source.notes),
    }


def _kernels(lowered: Lowered) -> list[dict[str, Any]]:
    calls = (op for op in lowered.module.walk() if op.name == "sala.kernel_call")
    steps = Counter(str(getattr(op.properties["symbol"], "data", "")) for op in calls)
    if lowered.sampling is not None:
        steps[lowered.sampling.symbol] += 1
    return [
        {
            "symbol": kernel.symbol,
            "family": kernel.family,
            "rule": kernel.rule,
            "steps": steps[kernel.symbol],
            "rejected": [list(refusal) for refusal in kernel.rejected],
        }
        for kernel in lowered.kernels
    ]


def _bytes_in(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
