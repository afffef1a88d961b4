"""Loading: sizes and budget first, memory afterwards."""

from dataclasses import dataclass, replace
from pathlib import Path

from runtime.artifact import Artifact, open_artifact
from runtime.device import default_threads
from runtime.errors import RequestError
from runtime.memory import available_memory, poison_wanted
from runtime.model import Model
from runtime.plan import MemoryPlan, Sizes, largest_context, plan_memory, require_fit
from runtime.plan.packing import largest
from runtime.targets import choose_target
from runtime.units import parse_bytes, parse_tokens


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What a caller of `load` asked for; None leaves the choice to the artifact or the machine."""

    context: int | None
    batch: int
    memory: int | None
    threads: int
    chunk: int | None
    sequences: int


def load(
    path: str | Path,
    context: int | str | None = None,
    batch: int | None = None,
    memory: int | str | None = None,
    threads: int | None = None,
    chunk: int | None = None,
    sequences: int | None = None,
    *,
    target: str | None = None,
    poison: bool | None = None,
    hash_weights: bool = False,
) -> Model:
    """Load a compiled model.

    `context` is the longest sequence in tokens (`32768`, `"32K"`; default: the artifact's, less if
    `memory` does not suffice for that), `batch` the sequences of one step, `sequences` those alive
    at a time (default: batch), `chunk` the most new tokens of one step, `memory` the most bytes
    to use, mapped weights included (`"8GiB"`), `threads` default to the CPUs of the process.
    `target` is one of the artifact's (default: the best for this processor).
    `poison` fills unwritten memory with NaN (default: SALA_POISON=1); `hash_weights` compares the
    weights with their hashes, which reads them whole.

    Raises ArtifactError for an artifact that cannot be used here, MemoryBudgetError for what
    does not fit, RequestError for values that make no sense.
    """
    steps = _positive("batch", batch, 1)
    alive = _positive("sequences", sequences, steps)
    if alive < steps:
        raise RequestError(
            f"{alive} sequences cannot fill a batch of {steps}",
            where="sequences",
            expected="at least batch",
        )
    request = LoadRequest(
        context=None if context is None else parse_tokens(context),
        batch=steps,
        memory=None if memory is None else parse_bytes(memory),
        threads=_positive("threads", threads, default_threads()),
        chunk=None if chunk is None else _positive("chunk", chunk, 1),
        sequences=alive,
    )
    artifact = open_artifact(path, hash_weights=hash_weights)
    chosen = choose_target(artifact, target)
    return Model(
        artifact,
        plan_for(artifact, chosen, request),
        target=chosen,
        poison=poison_wanted() if poison is None else poison,
    )


def plan_for(artifact: Artifact, target: str, request: LoadRequest) -> MemoryPlan:
    """The memory plan for a request; MemoryBudgetError where nothing fits."""
    manifest, program, weights = artifact.manifest, artifact.program, artifact.weight_bytes
    context = manifest.context if request.context is None else request.context
    sizes = Sizes(
        context=context,
        batch=request.batch,
        chunk=min(manifest.chunk if request.chunk is None else request.chunk, context),
        sequences=request.sequences,
        workers=request.threads,
    )
    machine = available_memory() + weights  # mapped weights are file memory
    budget = machine if request.memory is None else min(machine, request.memory)
    if request.context is None and request.memory is not None:
        sizes = _shrunk(artifact, target, sizes, budget)
    plan = require_fit(program, target, sizes, weights, budget)
    return plan if request.memory is None else _grown(artifact, target, plan, budget)


def _shrunk(artifact: Artifact, target: str, sizes: Sizes, budget: int) -> Sizes:
    """The sizes with the largest context up to the asked one that fits, if any does."""
    program, weights = artifact.program, artifact.weight_bytes
    if plan_memory(program, target, sizes, weights).total_bytes <= budget:
        return sizes
    context = min(sizes.context, largest_context(program, target, sizes, weights, budget))
    return sizes.with_context(context) if context else sizes


def _grown(artifact: Artifact, target: str, plan: MemoryPlan, budget: int) -> MemoryPlan:
    """The plan with further pages for the sequences beyond the batch, as the budget allows."""
    sizes, paging = plan.sizes, artifact.program.paging
    if sizes.sequences == sizes.batch:
        return plan
    own = -(-sizes.context // paging.page_tokens)

    def planned(extra: int) -> MemoryPlan:
        more = replace(sizes, pages=sizes.batch * own + extra)
        return plan_memory(artifact.program, target, more, artifact.weight_bytes)

    limit = (sizes.sequences - sizes.batch) * own
    return planned(largest(lambda extra: planned(extra).total_bytes <= budget, limit))


def _positive(name: str, value: int | None, default: int) -> int:
    chosen = default if value is None else value
    if not isinstance(chosen, int) or isinstance(chosen, bool) or chosen < 1:
        raise RequestError(f"{name} is {chosen!r}", where=name, expected="a whole number from 1")
    return chosen
