"""Memory planning: sizes, packing, and what fits a budget. A leaf that everybody may import."""

from sala_compile.runtime.plan.arena_packing import ArenaBuffer, Packing, pack
from sala_compile.runtime.plan.fit import largest_batch, largest_context, require_fit
from sala_compile.runtime.plan.growth import USUAL_BUDGETS, largest_contexts, token_parts
from sala_compile.runtime.plan.memory import (
    LAST_LOGITS,
    TOKEN_IDS,
    MemoryPart,
    MemoryPlan,
    Placed,
    arena_buffers,
    measure,
    plan_memory,
    text_shape,
)
from sala_compile.runtime.plan.plan_report import (
    growth_document,
    length_note,
    memory_document,
    memory_sentence,
    part_label,
)
from sala_compile.runtime.plan.sizes import MAX_CONTEXT, Sizes, check_tokens

__all__ = [
    "LAST_LOGITS",
    "MAX_CONTEXT",
    "TOKEN_IDS",
    "USUAL_BUDGETS",
    "ArenaBuffer",
    "MemoryPart",
    "MemoryPlan",
    "Packing",
    "Placed",
    "Sizes",
    "arena_buffers",
    "check_tokens",
    "growth_document",
    "largest_batch",
    "largest_context",
    "largest_contexts",
    "length_note",
    "measure",
    "memory_document",
    "memory_sentence",
    "pack",
    "part_label",
    "plan_memory",
    "require_fit",
    "text_shape",
    "token_parts",
]
