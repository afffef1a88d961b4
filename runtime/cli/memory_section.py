"""The memory part of sala-inspect: by context, by token, by budget, and as a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from sala_compile.runtime.artifact.format_model import is_gpu
from sala_compile.runtime.artifact.reader import Artifact
from sala_compile.runtime.cli.arena_picture import ArenaPicture
from sala_compile.runtime.cli.common import table
from sala_compile.runtime.cli.pictures import write_picture
from sala_compile.runtime.cli.sections import ReportSection
from sala_compile.runtime.common.units import format_bytes, format_tokens
from sala_compile.runtime.devices.choose_target import CPU
from sala_compile.runtime.errors import RequestError, SalaError
from sala_compile.runtime.plan import (
    USUAL_BUDGETS,
    MemoryPlan,
    Sizes,
    growth_document,
    largest_contexts,
    memory_document,
    part_label,
    plan_memory,
    token_parts,
)

_USUAL_CONTEXTS = tuple(1 << power for power in (12, 15, 17, 19, 20))


@dataclass(frozen=True, slots=True)
class MemoryRequest:
    """What is planned: `contexts` in tokens (usual ones if none is given), `batch` sequences.

    `plot` is the file for a picture of the first context's arena.
    """

    target: str
    contexts: Sequence[int]
    batch: int
    threads: int
    plot: Path | None = None


def memory_section(artifact: Artifact, request: MemoryRequest) -> ReportSection:
    """The plan of the artifact for each context; no weight is read and nothing is loaded."""
    default = artifact.manifest.context
    chosen = request.contexts or sorted({default, *(c for c in _USUAL_CONTEXTS if c > default)})
    sizes = [_sizes(artifact, request, context) for context in chosen]
    program, weights = artifact.program, artifact.weight_bytes_of(request.target)
    plans = [plan_memory(program, request.target, each, weights) for each in sizes]
    longest = max(sizes, key=lambda each: each.context)
    tokens = token_parts(program, request.target, longest)
    machine = _machine_bytes(artifact, request)
    known = USUAL_BUDGETS if machine is None else (machine, *USUAL_BUDGETS)
    budgets = largest_contexts(program, request.target, sizes[0], weights, known)
    documents = [memory_document(plan) for plan in plans]
    document = documents[0] | growth_document(tokens, budgets) | {"machine_bytes": machine}
    views = (_parts_table(plans, tokens, request), _budget_table(budgets, machine, request))
    if request.plot is None:
        return ReportSection("memory", document | {"by_context": documents}, views)
    picture = ArenaPicture(program, request.target, plans[0], artifact.directory.name)
    write_picture(request.plot, *picture.figure())
    note = Text(f"\nthe arena at context {format_tokens(chosen[0])}: {request.plot}")
    return ReportSection(
        "memory",
        document | {"by_context": documents, "plot": str(request.plot)},
        (*views, note),
    )


def _sizes(artifact: Artifact, request: MemoryRequest, context: int) -> Sizes:
    return Sizes(
        context=context,
        batch=request.batch,
        chunk=min(artifact.manifest.chunk, context),
        sequences=request.batch,
        workers=1 if is_gpu(request.target) else request.threads,
    )


def planned_target(artifact: Artifact, device: str | None, target: str | None) -> str:
    """The target `target`, or the one of the device; the newest GPU's if none is here."""
    targets = sorted(artifact.program.targets)
    if target is None:
        on_gpu = all(map(is_gpu, targets)) if device is None else is_gpu(device)
        own = [name for name in targets if is_gpu(name) is on_gpu]
        newest = max(own, key=lambda name: (len(name), name), default=device or CPU)
        target = CPU if CPU in own else newest
    if target not in targets:
        raise RequestError(
            f"the artifact has no target {target!r}", expected=f"one of {', '.join(targets)}"
        )
    return target


def _machine_bytes(artifact: Artifact, request: MemoryRequest) -> int | None:
    """What a loader could take here now; None if the GPU or the processor is not here."""
    from sala_compile.runtime.devices.choose_device import (
        choose_device,  # loads the kernel interface
    )

    try:
        device = choose_device(artifact, None, request.target, request.threads)
    except SalaError:
        return None
    try:
        return device.available()
    finally:
        device.close()


def _parts_table(
    plans: Sequence[MemoryPlan], tokens: Mapping[str, float], request: MemoryRequest
) -> Table:
    shared = "" if is_gpu(request.target) else f", {request.threads} threads"
    names = [f"context {format_tokens(plan.sizes.context)}" for plan in plans]
    columns = (*names, "one more token")
    title = f"memory, batch {request.batch}, target {request.target}{shared}"
    made = table(title, "", *columns, numbers=columns)
    for part in plans[0].parts:
        held = (format_bytes(plan.parts[part]) for plan in plans)
        made.add_row(part_label(part), *held, _token_text(tokens[part]))
    totals = (format_bytes(plan.total_bytes) for plan in plans)
    made.add_row("total", *totals, _token_text(sum(tokens.values())), style="bold")
    return made


def _token_text(size: float) -> str:
    return f"{size:.6g} B" if size else ""


def _budget_table(budgets: Mapping[int, int], machine: int | None, request: MemoryRequest) -> Table:
    title = f"\nlargest context, batch {request.batch}"
    made = table(title, "memory", "context", numbers=("context",))
    for budget, context in budgets.items():
        name = format_bytes(budget)
        if budget == machine:
            held = "for a model" if is_gpu(request.target) else "with the mapped weights"
            name += f", free on this machine now, {held}"
        made.add_row(name, f"{context} ({context / 1024:.0f}K)" if context else "none")
    return made
