"""Memory planning: sizes, packing, and what fits a budget. A leaf that everybody may import."""

from runtime.plan.fit import largest_batch, largest_context, require_fit
from runtime.plan.memory import (
    LAST_LOGITS,
    TOKEN_IDS,
    MemoryPlan,
    Part,
    Placed,
    arena_buffers,
    measure,
    plan_memory,
)
from runtime.plan.packing import Buffer, Packing, pack
from runtime.plan.report import PART_NAMES, memory_document, memory_sentence
from runtime.plan.sizes import Sizes

__all__ = [
    "LAST_LOGITS",
    "PART_NAMES",
    "TOKEN_IDS",
    "Buffer",
    "MemoryPlan",
    "Packing",
    "Part",
    "Placed",
    "Sizes",
    "arena_buffers",
    "largest_batch",
    "largest_context",
    "measure",
    "memory_document",
    "memory_sentence",
    "pack",
    "plan_memory",
    "require_fit",
]
