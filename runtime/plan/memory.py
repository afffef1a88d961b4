"""The memory of a program for given sizes: every byte, before anything is allocated."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import prod

from sala_compile.runtime.artifact.dims import Dim, Symbol, Symbols, dim_of, evaluate
from sala_compile.runtime.artifact.format_model import ElementType, align, is_gpu
from sala_compile.runtime.artifact.program import (
    PhaseName,
    Program,
    TargetProgram,
    Value,
    ValueKind,
)
from sala_compile.runtime.artifact.state_pools import Pool, pages_of
from sala_compile.runtime.common.units import format_bytes
from sala_compile.runtime.errors import ArtifactError, MemoryBudgetError
from sala_compile.runtime.plan.arena_packing import ArenaBuffer, Packing, pack
from sala_compile.runtime.plan.sizes import LIVE_SEQUENCES, Sizes

MAX_BYTES = 1 << 47
"""Bytes of an address space: no buffer is larger."""
LAST_LOGITS = "last_logits"
"""The runtime's own buffer: the newest logits of each sequence, [slots, columns of the logits]."""
TOKEN_IDS = "token_ids"
"""The runtime's own buffer: the tokens of each sequence, int32 [sequences, tokens of its pages].

No kernel reads it, so that it is not in a plan of other memory than the host's.
"""
Measured = tuple[tuple[int, ...], int]
"""Shape and bytes of a value."""


class MemoryPart(StrEnum):
    """What memory is for, besides the pools, which have their names in the program."""

    WEIGHTS = "weights"
    ARENA = "arena"
    INPUTS = "inputs"
    """Batch fields, page tables, the tokens and the last logits of each sequence."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A buffer in the one mapping: `offset` and `size` in bytes, its evaluated shape."""

    value: Value
    shape: tuple[int, ...]
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Places of all buffers but the weights in one mapping of `mapping_bytes`.

    `parts` adds up to `total_bytes`; `token_bytes` is what one more token of context of one
    sequence costs in pools.
    """

    sizes: Sizes
    symbols: Symbols
    packing: Packing
    places: dict[str, Placed]
    parts: dict[str, int]
    token_bytes: float

    @property
    def mapping_bytes(self) -> int:
        """Anonymous memory: everything but the weights."""
        return self.total_bytes - self.parts[MemoryPart.WEIGHTS]

    @property
    def total_bytes(self) -> int:
        """All memory, mapped weight files included."""
        return sum(self.parts.values())


def plan_memory(program: Program, target: str, sizes: Sizes, weight_bytes: int) -> MemoryPlan:
    """The exact plan.

    Raises RequestError for more tokens or sequences than can be counted, MemoryBudgetError for
    sizes that no address space holds, ArtifactError if a size of the program makes no sense.
    """
    sizes.check()
    symbols = sizes.symbols(program.paging)
    measured = _addressable(program, target, sizes)
    packing = pack(arena_buffers(program, program.targets[target], symbols, measured))
    parts = no_parts(program, target)
    parts[MemoryPart.WEIGHTS] = weight_bytes
    parts[MemoryPart.ARENA] = packing.total
    memory = memory_of_pools(program)
    places: dict[str, Placed] = {}
    offset = packing.total
    for name, value in outside_arena(program, target).items():
        shape, size = measure(name, value, symbols)
        places[name] = Placed(value, shape, offset, size)
        parts[memory.get(name, MemoryPart.INPUTS)] += align(size)
        offset += align(size)
    for name in arena_spans(program.targets[target]):
        shape, size = measured[name]
        places[name] = Placed(program.values[name], shape, packing.offsets[name], size)
    token_bytes = _token_bytes(program, target, symbols)
    return MemoryPlan(sizes, symbols, packing, places, parts, token_bytes)


def arena_buffers(
    program: Program,
    target: TargetProgram,
    symbols: Symbols,
    measured: Mapping[str, Measured] | None = None,
) -> list[ArenaBuffer]:
    """The buffers of the arena on the timeline prefill ++ decode ++ logits ++ sample.

    `measured` are those whose shape and bytes are known.
    """
    known: Mapping[str, Measured] = {} if measured is None else measured

    def size(name: str) -> int:
        found = known.get(name) or measure(name, program.values[name], symbols)
        return min(found[1], MAX_BYTES)

    return [
        ArenaBuffer(
            name,
            size(name),
            first,
            last,
        )
        for name, (first, last) in arena_spans(target).items()
    ]


def arena_spans(target: TargetProgram) -> dict[str, tuple[int, int]]:
    """First and last step on the timeline of every value of the arena."""
    spans: dict[str, tuple[int, int]] = {}
    start = 0
    for phase_name in PhaseName:
        phase = target.phases.get(phase_name)
        if phase is None:
            continue
        for name, (first, last) in phase.live.items():
            known = spans.get(name, (start + first, start + last))
            spans[name] = min(start + first, known[0]), max(start + last, known[1])
        start += len(phase.steps)
    return spans


def measure(name: str, value: Value, symbols: Symbols) -> Measured:
    """Shape and bytes of a value for the given sizes."""
    shape = tuple(evaluate(dim, symbols) for dim in value.shape)
    if min(shape, default=0) < 0:
        raise _impossible(name, shape)
    return shape, prod(shape) * value.dtype.itemsize


def _addressable(program: Program, target: str, sizes: Sizes) -> dict[str, Measured]:
    """Shape and bytes of all values.

    Refuses the sizes, or the program, for a buffer that is larger than an address space.
    """
    symbols = sizes.symbols(program.paging)
    values = program.values_of(target)
    measured = {name: measure(name, value, symbols) for name, value in values.items()}
    for name, (_, size) in measured.items():
        if size <= MAX_BYTES:
            continue
        value = values[name]
        shape, least = measure(name, value, dict.fromkeys(symbols, 1))
        if least > MAX_BYTES:
            raise _impossible(name, shape)
        raise MemoryBudgetError(
            f"context {sizes.context} with batch {sizes.batch} needs {format_bytes(size)} for "
            f"{name} alone",
            expected=f"at most {format_bytes(MAX_BYTES)}, an address space",
            fix="choose a smaller context, batch or chunk",
        )
    return measured


def _impossible(name: str, shape: tuple[int, ...]) -> ArtifactError:
    return ArtifactError(
        f"the value {name} has the shape {list(shape)}",
        where="program.json: values",
        expected="dims of at least 0 and a size that fits an address space",
        fix="compile again",
    )


def outside_arena(program: Program, target: str) -> dict[str, Value]:
    """The buffers that no step begins: inputs, tables last, the runtime's own, and the pools."""
    values = program.values_of(target)
    inputs = {name: value for name, value in values.items() if value.kind is ValueKind.INPUT}
    pools = {name: value for name, value in values.items() if value.kind is ValueKind.POOL}
    tables = {name: inputs.pop(name) for name in program.paging.tables}
    columns = program.values[program.logits].shape[-1]
    own = {LAST_LOGITS: _own(ElementType.FLOAT32, dim_of(Symbol.SLOTS), columns)}
    if not is_gpu(target):
        own[TOKEN_IDS] = _own(ElementType.INT32, *text_shape(program))
    return {**inputs, **tables, **own, **pools}


def text_shape(program: Program) -> tuple[Dim, Dim]:
    """The shape of the tokens of every sequence."""
    pages = dim_of(Symbol.SEQUENCE_PAGES, program.paging.page_tokens)
    return dim_of(LIVE_SEQUENCES), pages


def _own(dtype: ElementType, *shape: Dim) -> Value:
    return Value(kind=ValueKind.INPUT, dtype=dtype, shape=shape)


def memory_of_pools(program: Program) -> dict[str, str]:
    """The part of memory that each value of the pools belongs to."""
    return {
        value: pool.memory
        for pool in program.pools.values()
        for part in pool.parts
        for value in part.stored
    }


def no_parts(program: Program, target: str) -> dict[str, int]:
    """0 for every part of a plan, in the order in which they are shown.

    Pools of small pages come before those of larger ones, and fixed states last.
    """
    groups, own = program.paging.groups, program.pools_of(target)

    def order(item: tuple[str, Pool]) -> tuple[float, str]:
        _, pool = item
        tokens = float("inf") if pool.group is None else float(groups[pool.group].tokens)
        return tokens, pool.memory

    pools = [pool.memory for name, pool in sorted(program.pools.items(), key=order) if own[name]]
    return dict.fromkeys((MemoryPart.WEIGHTS, *pools, MemoryPart.ARENA, MemoryPart.INPUTS), 0)


def _token_bytes(program: Program, target: str, symbols: Symbols) -> float:
    total = 0.0
    values = program.values_of(target)
    for pool in program.pools.values():
        if pool.group is None:
            continue
        one = {**symbols, pages_of(pool.group): 1}
        stored = (name for part in pool.parts for name in part.stored if name in values)
        size = sum(measure(name, values[name], one)[1] for name in stored)
        total += size / program.paging.groups[pool.group].tokens
    return total
