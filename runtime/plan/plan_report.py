"""The report of a memory plan for people and programs, the same in every command."""

from collections.abc import Mapping
from typing import Any

from sala_compile.runtime.common.units import format_bytes, format_tokens
from sala_compile.runtime.plan.memory import MemoryPlan


def part_label(part: str) -> str:
    """What people call a part of memory: `KV pages`."""
    return part.replace("_", " ").replace("kv ", "KV ")


def memory_document(plan: MemoryPlan) -> dict[str, Any]:
    """The plan as JSON: what it is for, the total and its `parts` in bytes."""
    return {
        "context": plan.sizes.context,
        "batch": plan.sizes.batch,
        "chunk": plan.sizes.chunk,
        "threads": plan.sizes.workers,
        "total_bytes": plan.total_bytes,
        "parts": {str(part): size for part, size in plan.parts.items()},
        "arena_lower_bound_bytes": plan.packing.lower_bound,
    }


def growth_document(
    token_bytes: Mapping[str, float], contexts: Mapping[int, int]
) -> dict[str, Any]:
    """As JSON: bytes of one more token by part, and the longest context for each budget."""
    return {
        "token_bytes": {str(part): size for part, size in token_bytes.items()},
        "largest_context": [
            {"memory_bytes": budget, "context": context} for budget, context in contexts.items()
        ],
    }


def memory_sentence(plan: MemoryPlan) -> str:
    """The plan in a line: the total, what it is for, and its parts."""
    parts = ", ".join(
        f"{part_label(part)} {format_bytes(size)}" for part, size in plan.parts.items()
    )
    context, batch = format_tokens(plan.sizes.context), plan.sizes.batch
    return f"{format_bytes(plan.total_bytes)} for context {context}, batch {batch}: {parts}"


def length_note(context: int, trained: int | None) -> str | None:
    """The note on a context beyond the length that a model was trained for; None within."""
    if trained is None or context <= trained:
        return None
    return (
        f"a context of {context} tokens is longer than the {trained} that the model was trained "
        "for (max_position_embeddings): what it says of text beyond may be poor"
    )
