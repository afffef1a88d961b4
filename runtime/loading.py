"""Loading: sizes and budget first, memory afterwards."""

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import lcm
from pathlib import Path
from typing import Any

from sala_compile.runtime.artifact import Artifact, InputName, Symbol, open_artifact
from sala_compile.runtime.artifact.tuned_program import with_tuning
from sala_compile.runtime.common.checks import (
    checked_call,
    checked_flag,
    checked_path,
    checked_size,
    checked_text,
    checked_whole,
)
from sala_compile.runtime.common.threads import checked_threads
from sala_compile.runtime.common.units import format_bytes, parse_bytes, parse_tokens
from sala_compile.runtime.devices.choose_device import choose_device, tuned_target
from sala_compile.runtime.devices.device import Advance, Device
from sala_compile.runtime.errors import ArtifactError, MemoryBudgetError, RequestError
from sala_compile.runtime.model import Model
from sala_compile.runtime.plan import MemoryPlan, Sizes, largest_context, plan_memory, require_fit
from sala_compile.runtime.plan.arena_packing import largest
from sala_compile.runtime.state.prefix_cache import PrefixOptions
from sala_compile.runtime.text.tokenizers.same_tokens import require_same_tokens

MAX_SNAPSHOTS = 1 << 20
SNAPSHOT_PAGES = 64
"""Pages between the snapshots of a prefix cache."""


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What a caller of `load` requested; None leaves the choice to the artifact or the machine."""

    context: int | None
    batch: int
    memory: int | None
    threads: int
    chunk: int | None
    sequences: int
    snapshots: int = 0
    prefix_bytes: int = 0
    capacity: int | None = None
    shared: bool = False
    speculate: int = 0


def load(
    path: str | Path,
    context: int | str | None = None,
    batch: int | None = None,
    memory: int | str | None = None,
    threads: int | None = None,
    chunk: int | None = None,
    sequences: int | None = None,
    prefix_cache: int | str | None = None,
    snapshot_every: int | str | None = None,
    snapshots: int = 0,
    capacity: int | str | None = None,
    speculate: int = 0,
    draft: str | Path | None = None,
    *,
    device: str | None = None,
    target: str | None = None,
    tuning: str | Path | None = None,
    progress: Advance | None = None,
    poison: bool | None = None,
    hash_weights: bool | None = None,
    verify_key: str | Path | None = None,
) -> Model:
    """Load a compiled model.

    `context` is the longest sequence in tokens (`32768`, `"32K"`; default: the artifact's, less if
    `memory` does not suffice for that), `batch` the sequences of one step, `sequences` those alive
    at a time (default: batch), `chunk` the most new tokens of one step, `memory` the most bytes
    to use of the device's memory, weights included (`"8GiB"`), `threads` default to the CPUs of the
    process, and are twice as many at most.
    `prefix_cache` bytes beyond the others hold prefixes for reuse, a snapshot of the
    recurrent state `snapshot_every` tokens (whole pages; default: 64 pages).
    `capacity` are the tokens that all sequences hold together, `context` at least (default: that
    for each of `batch`); "memory" takes as many as the memory allows, up to the default.
    `snapshots` is how many can be taken by hand at a time (`Sequence.snapshot`).
    `speculate` is how many drafted tokens a step verifies at most, in all its sequences; there is a
    recurrent state for each. Answers then take drafts from what the text repeats, with the same
    tokens as without. `draft` is a smaller artifact with the same tokenizer, which drafts too; its
    memory counts, and it has as many sequences of the same context.
    `device` is `"cpu"`, `"cuda"` or the number of a GPU, `"cuda:1"` (default: the CPU, if the
    artifact has a target for one); `target` is one of the artifact's (default: the best for the
    device). `tuning` is a file that sala-tune wrote for the artifact, whose library is used instead
    of the artifact's. `progress` receives the bytes of weights that are on a GPU, and all of them.
    `poison` fills unwritten memory with NaN (default: SALA_POISON=1); `hash_weights` compares the
    weights with their hashes, which reads them whole (default: if they have 1 GiB or less).
    `verify_key` is a public key: the artifact must come with a signature of its owner, and
    every file is hashed (needs the extra [sign]).

    Raises ArtifactError for an artifact that cannot be used here, MemoryBudgetError for what
    does not fit, RequestError for values that make no sense.
    """
    path = checked_path("path", path)
    for name, text in (("device", device), ("target", target)):
        checked_text(name, text, "text, or None")
    library = None if tuning is None else checked_path("tuning", tuning)
    checked_call("progress", progress)
    for name, flag in (("poison", poison), ("hash_weights", hash_weights)):
        if flag is not None:
            checked_flag(name, flag)
    for name, size in (
        *(("context", context), ("memory", memory)),
        *(("prefix_cache", prefix_cache), ("snapshot_every", snapshot_every)),
    ):
        if size is not None:
            checked_size(name, size)
    steps = _positive("batch", batch, 1)
    alive = _positive("sequences", sequences, steps)
    if alive < steps:
        raise RequestError(
            f"{alive} sequences cannot fill a batch of {steps}",
            where="sequences",
            expected="at least batch",
        )
    shared = capacity == "memory"
    if capacity is not None and not shared:
        checked_size("capacity", capacity)
    request = LoadRequest(
        context=None if context is None else parse_tokens(context),
        batch=steps,
        memory=None if memory is None else parse_bytes(memory),
        threads=checked_threads(threads),
        chunk=None if chunk is None else _positive("chunk", chunk, 1),
        sequences=alive,
        snapshots=checked_whole("snapshots", snapshots, 0, "a whole number from 0"),
        prefix_bytes=0 if prefix_cache is None else parse_bytes(prefix_cache),
        capacity=None if capacity is None or shared else parse_tokens(capacity),
        shared=shared,
        speculate=checked_whole("speculate", speculate, 0, "a whole number from 0"),
    )
    drafting = _draft_path(draft, request.speculate)
    artifact = open_artifact(path, hash_weights=hash_weights, verify_key=verify_key)
    if library is not None:
        own = tuned_target(artifact, device, target)
        artifact = with_tuning(artifact, own, library)
    with ExitStack() as undo:
        options: dict[str, Any] = {"device": device, "poison": poison}
        options |= {"hash_weights": hash_weights, "verify_key": verify_key}
        helper, request = _draft_model(drafting, artifact, request, undo, options)
        chosen = choose_device(artifact, device, target, request.threads)
        undo.callback(chosen.close)
        prefix = _prefix_options(artifact, chosen.target, request.prefix_bytes, snapshot_every)
        plan = plan_for(artifact, chosen, request)
        if prefix is not None:
            plan = with_prefix_cache(artifact, chosen, plan, prefix)
        model = Model(
            artifact,
            plan,
            chosen,
            poison=poison_wanted() if poison is None else poison,
            prefix=prefix,
            advance=progress,
            draft=helper,
        )
        undo.pop_all()
    return model


def _draft_path(draft: object, speculate: int) -> Path | None:
    """The draft model's place; RequestError where nothing is to be drafted."""
    if draft is None or speculate:
        return None if draft is None else checked_path("draft", draft)
    raise RequestError(
        "a draft model is given, and no drafted tokens are planned",
        where="draft",
        expected="speculate, the number of tokens that are drafted at most",
        fix="give speculate, such as 4, or leave draft out",
    )


def _draft_model(
    path: Path | None,
    artifact: Artifact,
    request: LoadRequest,
    undo: ExitStack,
    options: dict[str, Any],
) -> tuple[Model | None, LoadRequest]:
    """The draft model of an artifact, which `undo` closes, and the request with what it leaves.

    It has as many sequences of the same context.
    """
    if path is None:
        return None, request
    require_same_tokens(artifact, open_artifact(path, hash_weights=False))
    model = load(
        path,
        context=artifact.manifest.context if request.context is None else request.context,
        batch=request.sequences,
        memory=request.memory,
        threads=request.threads,
        snapshots=request.sequences,
        **options,
    )
    undo.callback(model.close)
    return model, _less(request, model.plan)


def _less(request: LoadRequest, draft: MemoryPlan) -> LoadRequest:
    """The request with the memory that a draft model leaves; MemoryBudgetError if it is none."""
    if request.memory is None:
        return request
    left = request.memory - draft.total_bytes
    if left <= 0:
        raise MemoryBudgetError(
            f"the draft model takes {format_bytes(draft.total_bytes)}, all that may be taken",
            where="draft",
            expected=f"less than {format_bytes(request.memory)}",
            fix="give more memory, or load without draft",
        )
    return replace(request, memory=left)


def poison_wanted() -> bool:
    """True if SALA_POISON=1 is set: unwritten memory is NaN."""
    return os.environ.get("SALA_POISON") == "1"


def plan_for(artifact: Artifact, device: Device, request: LoadRequest) -> MemoryPlan:
    """The memory plan for a request; MemoryBudgetError if nothing fits."""
    manifest, program = artifact.manifest, artifact.program
    if request.speculate:
        _require_checkpoints(artifact)
    weights = artifact.weight_bytes_of(device.target)
    context = manifest.context if request.context is None else request.context
    sizes = Sizes(
        context=context,
        batch=request.batch,
        chunk=min(manifest.chunk if request.chunk is None else request.chunk, context),
        sequences=request.sequences,
        workers=device.workers,
        snapshots=request.snapshots,
        checkpoints=request.speculate,
        pages=_capacity_pages(artifact, request, context),
        shared=request.shared,
    )
    machine = device.available()
    budget = machine if request.memory is None else min(machine, request.memory)
    if 0 < budget <= request.prefix_bytes:
        raise MemoryBudgetError(
            f"a prefix cache of {format_bytes(request.prefix_bytes)} leaves no memory to the model",
            where="prefix_cache",
            expected=f"less than the {format_bytes(budget)} that may be taken",
            fix="give more memory, or a smaller prefix cache",
        )
    budget -= request.prefix_bytes
    if request.context is None and request.memory is not None and request.capacity is None:
        sizes = _shrunk(artifact, device, sizes, budget)
    plan = require_fit(program, device.target, sizes, weights, budget)
    grows = request.shared or (request.memory is not None and request.capacity is None)
    return _grown(artifact, device, plan, budget) if grows else plan


def _require_checkpoints(artifact: Artifact) -> None:
    """ArtifactError if kernels do not keep the states between drafted tokens."""
    program = artifact.program
    fixed = any(pool.group is None for pool in program.pools.values())
    if fixed and InputName.CHECKPOINTS not in program.values:
        raise ArtifactError(
            "the artifact's kernels keep no states between drafted tokens",
            where="option speculate",
            expected="an artifact of this version",
            fix="compile again, or load without speculate",
        )


def _capacity_pages(artifact: Artifact, request: LoadRequest, context: int) -> int | None:
    """The pages for the capacity that is requested, None for the default."""
    if request.capacity is None:
        return None
    if request.capacity < context:
        raise RequestError(
            f"a capacity of {request.capacity} tokens holds no sequence of {context}",
            where="capacity",
            expected="at least context",
        )
    return -(-request.capacity // artifact.program.paging.page_tokens) + request.snapshots


def _shrunk(artifact: Artifact, device: Device, sizes: Sizes, budget: int) -> Sizes:
    """The sizes with the largest context up to the requested one that fits, if any does."""
    program, target = artifact.program, device.target
    weights = artifact.weight_bytes_of(target)
    if plan_memory(program, target, sizes, weights).total_bytes <= budget:
        return sizes
    context = min(sizes.context, largest_context(program, target, sizes, weights, budget))
    return sizes.with_context(context) if context else sizes


def _grown(artifact: Artifact, device: Device, plan: MemoryPlan, budget: int) -> MemoryPlan:
    """The plan with further pages, as the budget allows.

    For the sequences beyond the batch; where pages are shared, for those of the batch.
    """
    sizes, paging = plan.sizes, artifact.program.paging
    weights = artifact.weight_bytes_of(device.target)
    have, most = (1, sizes.batch) if sizes.shared else (sizes.batch, sizes.sequences)
    if have == most:
        return plan
    own = -(-sizes.context // paging.page_tokens)
    least = plan.symbols[Symbol.PAGES]

    def planned(extra: int) -> MemoryPlan:
        more = replace(sizes, pages=least + extra)
        return plan_memory(artifact.program, device.target, more, weights)

    limit = (most - have) * own
    return planned(largest(lambda extra: planned(extra).total_bytes <= budget, limit))


def with_prefix_cache(
    artifact: Artifact, device: Device, plan: MemoryPlan, options: PrefixOptions
) -> MemoryPlan:
    """The plan with snapshots, and pages for the text between them, that fill the cache's bytes.

    MemoryBudgetError if not one fits.
    """
    sizes, symbols = plan.sizes, plan.symbols
    weights = artifact.weight_bytes_of(device.target)
    own = -(-min(options.every, sizes.context) // artifact.program.paging.page_tokens)

    def planned(count: int) -> MemoryPlan:
        more = replace(
            sizes,
            pages=symbols[Symbol.PAGES] + count * own,
            snapshots=sizes.snapshots + count,
        )
        return plan_memory(artifact.program, device.target, more, weights)

    limit = plan.total_bytes + options.nbytes
    count = largest(lambda number: planned(number).total_bytes <= limit, MAX_SNAPSHOTS)
    if count == 0:
        needed = planned(1).total_bytes - plan.total_bytes
        raise MemoryBudgetError(
            f"a prefix cache of {format_bytes(options.nbytes)} cannot hold one snapshot",
            where="prefix_cache",
            expected=f"at least {needed} bytes ({format_bytes(needed)}): a recurrent state and "
            f"the pages of {options.every} tokens",
            fix="give more bytes, or a smaller snapshot_every",
        )
    return planned(count)


def _prefix_options(
    artifact: Artifact, target: str, nbytes: int, every: int | str | None
) -> PrefixOptions | None:
    """The options of a prefix cache, None without one; RequestError for impossible lengths."""
    paging, multiple = artifact.program.paging, artifact.program.targets[target].read_multiple
    unit = lcm(paging.page_tokens, multiple)
    default = -(-SNAPSHOT_PAGES * paging.page_tokens // unit) * unit
    tokens = default if every is None else parse_tokens(every)
    if tokens % unit:
        raise RequestError(
            f"a snapshot every {tokens} tokens is requested",
            where="snapshot_every",
            expected=f"a multiple of {unit}: whole pages of {paging.page_tokens} tokens, and "
            f"{multiple}, at whose multiples a text can be cut without a change of bits",
        )
    if nbytes == 0 and every is not None:
        raise RequestError(
            "snapshot_every is for a prefix cache", fix='give prefix_cache, such as "2GiB"'
        )
    return PrefixOptions(tokens, nbytes) if nbytes else None


def _positive(name: str, value: int | None, default: int) -> int:
    return default if value is None else checked_whole(name, value, 1, "a whole number from 1")
