"""Constants and tiles of the block attention kernels of a GPU."""

from dataclasses import dataclass, replace

import triton

from sala_compile.codegen.kernels.arguments import Arguments, workspace
from sala_compile.codegen.kernels.attend_blocks import spec as attend
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cuda import CudaTarget

UNION_QUERIES = 8
"""Queries whose lists are merged at most: each has a bit next to the number of a block."""
PARTS_ROWS = 16
"""Rows of a tile of one query: the least that matrix instructions take."""
SPLITS, MOST_SPLITS = 32, 64
"""Programs that share the blocks of a query and kv head: of a list, and of a past at most."""


@dataclass(frozen=True, slots=True)
class Spec(attend.Spec):
    """What the kernels are compiled for; `decode`: every sequence has one new token."""

    decode: bool = False


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tiles of `rows` rows (query, head), or of one query whose blocks `splits` programs share.

    `splits`, a power of two, is part of the result: it says in which order sums are taken.
    """

    rows: int
    splits: int
    warps: int
    stages: int

    @classmethod
    def default(cls, spec: Spec) -> "Schedule":
        """Tiles within 99 KiB of shared memory, the least that an architecture has."""
        bf16 = spec.element is Element.BF16
        if spec.decode:
            warps, stages = (4, 3) if bf16 else (8, 1)
            return cls(rows=PARTS_ROWS, splits=SPLITS, warps=warps, stages=stages)
        if bf16:
            return cls(rows=64, splits=1, warps=4, stages=2)
        return cls(rows=16, splits=1, warps=8, stages=1)

    @classmethod
    def fitting(cls, spec: Spec, target: CudaTarget) -> "Schedule":
        """The default, within what two blocks of a tile may take on a multiprocessor.

        Products that take operands from registers leave none to load ahead: one stage. Few kv
        heads whose past is read whole have as many programs as memory asks for.
        """
        schedule = cls.default(spec)
        if spec.decode and not spec.budget:
            return replace(schedule, splits=_past_splits(spec.kv_heads, target))
        ahead = spec.decode or target.multiplies_shared
        return schedule if ahead else replace(schedule, stages=1)

    def heads(self, spec: Spec) -> int:
        """Rows of a query: a power of two."""
        heads = triton.next_power_of_2(spec.group)
        if spec.decode:
            return max(heads, PARTS_ROWS)
        return max(heads, PARTS_ROWS // UNION_QUERIES) if spec.budget else heads

    def queries(self, spec: Spec) -> int:
        """Queries of a tile."""
        if spec.decode:
            return 1
        queries = max(1, self.rows // self.heads(spec))
        return min(queries, UNION_QUERIES) if spec.budget else queries

    def workspaces(self, spec: Spec) -> Arguments:
        """Decode: parts and their sums. Prefill: union lists, their pages and lengths."""
        heads, lists = spec.num_heads * self.splits, spec.kv_heads * spec.budget
        if spec.decode:
            return (
                workspace("parts", "f32", 0, per_sequence=heads * spec.head_dim),
                workspace("sums", "f32", 0, per_sequence=heads),
            )
        if not spec.budget:
            return ()
        each, heads = lists * self.queries(spec), spec.kv_heads
        return (
            workspace("entries", "i32", 0, per_token=lists, per_sequence=each),
            workspace("pages", "i32", 0, per_token=lists, per_sequence=each),
            workspace("lengths", "i32", 0, per_token=heads, per_sequence=heads),
        )


def _past_splits(kv_heads: int, target: CudaTarget) -> int:
    """The largest power of two that gives a sequence no more programs than memory asks for.

    Within limits: every part is written and read once more.
    """
    each = max(1, target.memory_programs // kv_heads)
    return min(max(SPLITS, 1 << each.bit_length() - 1), MOST_SPLITS)
