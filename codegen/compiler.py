"""A whole compilation: from options to an artifact, or to a plan of one."""

import os
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from codegen.build import write_files
from codegen.disk import file_errors, require_temporary_room
from codegen.emit import weight_file_bytes
from codegen.lowering import Lowered, lower, parse_targets
from codegen.options import CompileOptions
from codegen.plan import Plan, Source, assemble
from codegen.planned import INTEGER_LINEAR
from codegen.progress import Progress
from codegen.targets.cpu import find_linker
from codegen.weight_report import weights_document
from runtime.artifact.writer import write_artifact
from runtime.plan import (
    USUAL_BUDGETS,
    Sizes,
    growth_document,
    largest_contexts,
    memory_document,
    plan_memory,
    token_parts,
)
from sala_ir.checkpoint import Checkpoint
from sala_ir.context import print_module
from sala_ir.frontends import Frontend, frontend_for, read_config


@dataclass(frozen=True, slots=True)
class CompileResult:
    """`text` is the module of the first target as the last pass left it."""

    summary: dict[str, Any]
    text: str


def compile_model(options: CompileOptions, progress: Progress) -> CompileResult:
    """Compile as the options say. Raises SalaError for whatever the user can mend."""
    start = perf_counter()
    targets = parse_targets(options.targets)
    if options.writes:
        find_linker()
    with file_errors(), ExitStack() as stack:
        source = open_source(options, stack)
        lowered = tuple(
            lower(source.captured, name, target, options, progress)
            for name, target in targets.items()
        )
        text = print_module(lowered[0].module)
        notes = [note for entry in lowered for note in entry.notes]
        summary = _summary(options, source, lowered)
        if options.stop_after is None:
            plan = assemble(source, lowered)
            summary["weights"] = weights_document(plan)
            summary["memory"] = memory_of(plan, options)
            summary["notes"] += notes + _notes(plan, options)
            if options.output is not None and options.writes:
                output = options.output
                require_temporary_room()
                write_artifact(output, lambda writer: write_files(writer, plan, options, progress))
                summary["artifact"] = {"path": str(output), "bytes": _bytes_in(output)}
    summary["seconds"] = round(perf_counter() - start, 3)
    return CompileResult(summary, text)


def open_source(options: CompileOptions, stack: ExitStack) -> Source:
    """Read the configuration and the headers of the weights, and capture the graph."""
    checkpoint = None
    if options.config_file is not None:
        place, raw = options.config_file, read_config(options.config_file)
    else:
        assert options.checkpoint is not None, "checked with the options"
        place, raw = options.checkpoint / "config.json", read_config(options.checkpoint)
    frontend: Frontend = frontend_for(raw, file=str(place))
    config = frontend.parse_config(raw, file=str(place))
    tensors = frontend.expected_tensors(config)
    if options.checkpoint is not None:
        checkpoint = stack.enter_context(Checkpoint.open(options.checkpoint))
        checkpoint.check(tensors)
    captured = frontend.build_module(config, options.attention)
    return Source(raw, config, tensors, captured, checkpoint)


def memory_of(plan: Plan, options: CompileOptions) -> dict[str, Any]:
    """The planned memory for one sequence of the default context, and how far memory goes."""
    sizes = Sizes(
        context=options.context,
        batch=1,
        chunk=options.chunk,
        sequences=1,
        workers=len(os.sched_getaffinity(0)),
    )
    target, weights = plan.lowered[0].name, weight_file_bytes(plan.stored)
    planned = plan_memory(plan.program, target, sizes, weights)
    return memory_document(planned) | growth_document(
        token_parts(plan.program, target, sizes),
        largest_contexts(plan.program, target, sizes, weights, USUAL_BUDGETS),
    )


def _notes(plan: Plan, options: CompileOptions) -> list[str]:
    if any(kernel.family == INTEGER_LINEAR for kernel in plan.kernels):
        asked = options.quantization.value
        return [f"a plan on paper: the kernels that read {asked} weights do not exist yet"]
    return []


def _summary(
    options: CompileOptions, source: Source, lowered: tuple[Lowered, ...]
) -> dict[str, Any]:
    return {
        "model": {
            "family": source.raw["model_type"],
            "parameters": source.parameters,
            "layers": source.config.num_hidden_layers,
            "vocabulary": source.config.vocab_size,
        },
        "attention": options.attention.value,
        "dtype": options.dtype.value,
        "quantization": options.quantization.value,
        "context": options.context,
        "chunk": options.chunk,
        "passes": [
            {"name": r.name, "before": r.before, "after": r.after, "seconds": round(r.seconds, 4)}
            for r in lowered[0].records
        ],
        "kernels": {entry.name: _kernels(entry) for entry in lowered},
        "notes": [],
    }


def _kernels(lowered: Lowered) -> list[dict[str, Any]]:
    calls = (op for op in lowered.module.walk() if op.name == "sala.kernel_call")
    steps = Counter(str(getattr(op.properties["symbol"], "data", "")) for op in calls)
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
