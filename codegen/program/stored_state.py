"""How the states of a step are stored on each kind of target, from what their types describe.

On a processor an entry's leading extents come first; then the columns in groups that share 32 bits,
and the entries of a page padded to 16: K is [pages, kv heads, D/p, Tp, p] with p elements in 32
bits. Where entries share bits, the columns are padded: V is [pages, kv heads, Tp/p, Dp, p]. Entries
in runs have a dimension of these: compressed keys are [pages, kv heads, T/run, D/p, run, p]. Rows
that are read both ways stay rows: [pages, T, columns padded to 16 p]. On a
GPU rows are plain: [pages, kv heads, T, D]. What is fixed, or a whole page, is as its type says:
[slots, ...], [pages, ...].
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sala_compile.codegen.layouts.encodings import part_name
from sala_compile.codegen.layouts.padding import padded, pair_of, runs_of
from sala_compile.codegen.program.buffers import GPU, element_type
from sala_compile.runtime.artifact import (
    ElementType,
    PageGroup,
    Paging,
    Pool,
    PoolPart,
    Symbol,
    Value,
    ValueKind,
    dim_of,
    pages_of,
)
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.dialect.state_parts import Shared, StatePart
from sala_compile.sala_ir.dialect.types import StateType

GPU_POOLS = "cuda"
"""The prefix of the names of values that only GPUs use."""
DEFAULT_PAGE = 64
"""Tokens in which texts are cut for reuse where no state has pages."""


@dataclass(frozen=True, slots=True)
class StoredPart:
    """One tensor of a state on targets of a kind: what it holds, its value, its extents' places."""

    part: StatePart
    value: Value
    axes: tuple[int, ...]

    @property
    def suffix(self) -> str:
        """What kernels call it; "" where a state is one tensor."""
        return self.part.suffix


def stored_parts(kind: StateType, target_kind: str = "cpu") -> tuple[StoredPart, ...]:
    """The tensors of a state on targets of a kind."""
    return tuple(_stored(kind, part, target_kind) for part in kind.parts)


def stored_name(name: str, kind: StateType, target_kind: str) -> str:
    """The name of a state's values, one for each layout that they have."""
    own = target_kind == GPU and stored_parts(kind, GPU) != stored_parts(kind)
    return f"{GPU_POOLS}/{name}" if own else name


def _stored(kind: StateType, part: StatePart, target_kind: str) -> StoredPart:
    numbering = None if part.slots is not None else kind.numbering
    symbol = str(Symbol.SLOTS) if numbering is None else pages_of(numbering.group)
    if numbering is None or part.is_whole_page:
        axes, shape = tuple(range(1, len(part.row) + 1)), part.row
    else:
        entries = numbering.tokens // part.stride
        pair = 0 if target_kind == GPU else pair_of(kind)
        axes, shape = _page(part, entries, pair)
    dtype = ElementType.INT32 if part.words else element_type(kind.element_type)
    value = Value(kind=ValueKind.POOL, dtype=dtype, shape=(dim_of(symbol), *shape))
    return StoredPart(part, value, axes)


def _page(part: StatePart, entries: int, pair: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which extent each dimension of a page belongs to, and the dimensions; pair 0: plain rows."""
    *lead, columns = part.row
    first, last = tuple(range(1, len(lead) + 1)), len(part.row)
    if not pair:
        return (*first, 0, last), (*lead, entries, columns)
    if part.shared is Shared.ROW:
        return (*first, 0, last), (*lead, entries, padded(-(-columns // pair)) * pair)
    if part.shared is Shared.ENTRIES:
        inner = (padded(entries) // pair, padded(columns), pair)
        return (*first, 0, last, 0), (*lead, *inner)
    if part.run:
        runs, run = runs_of(entries, part.run)
        return (*first, 0, last, 0, last), (*lead, runs, columns // pair, run, pair)
    return (*first, last, 0, last), (*lead, columns // pair, padded(entries), pair)


def paging_of(kinds: Iterable[StateType]) -> Paging:
    """The page groups of states.

    CompileError if two states of one group want other pages, or pages are no multiples.
    """
    found: dict[str, PageGroup] = {}
    for numbering in (kind.numbering for kind in kinds):
        if numbering is None:
            continue
        group = PageGroup(table=numbering.table, tokens=numbering.tokens, label=numbering.label)
        known = found.setdefault(numbering.group, group)
        if known != group:
            raise CompileError(
                f"states of the page group {numbering.group} have pages of {known.tokens} and of "
                f"{group.tokens} tokens",
                expected="pages of one size in a group",
                fix="give --page-size, a multiple of every layer's block of selection",
            )
    unit = min((group.tokens for group in found.values()), default=DEFAULT_PAGE)
    odd = next((name for name, group in found.items() if group.tokens % unit), None)
    if odd is not None:
        raise CompileError(
            f"pages of {odd} cover {found[odd].tokens} tokens, those of another group {unit}",
            expected="pages that are multiples of the smallest ones",
            fix="give --page-size",
        )
    return Paging(page_tokens=unit, groups=found)


def pools_of(states: Mapping[str, Mapping[str, StateType]]) -> dict[str, Pool]:
    """The pools of a program: the states that each kind of target has, by name."""
    pools: dict[str, Pool] = {}
    for target_kind, kinds in states.items():
        for name, kind in kinds.items():
            for own, pool in _pools(name, kind, target_kind):
                pools[own] = _joined(pools[own], pool) if own in pools else pool
    names = Counter(part.name for pool in pools.values() for part in pool.parts)
    twice = [name for name, count in names.items() if count > 1]
    assert not twice, f"parts of several states have one name in state files: {twice}"
    return pools


def _pools(name: str, kind: StateType, target_kind: str) -> Iterator[tuple[str, Pool]]:
    """The pool of a state; another one of its parts with slots, where it has pages too."""
    group = None if kind.numbering is None else kind.numbering.group
    for memory in dict.fromkeys(part.slots for part in kind.parts):
        parts = tuple(
            _pool_part(name, stored, stored_name(name, kind, target_kind))
            for stored in stored_parts(kind, target_kind)
            if stored.part.slots == memory
        )
        if memory is None:
            yield name, Pool(group=group, memory=kind.MEMORY, parts=parts)
        else:
            yield f"{name}.{memory}", Pool(group=None, memory=memory, parts=parts)


def _pool_part(name: str, stored: StoredPart, own: str) -> PoolPart:
    part = stored.part
    return PoolPart(
        name=canonical_name(name, part),
        row=part.row,
        stride=part.stride,
        skipped=part.skipped,
        unit=part.unit,
        stored={part_name(own, stored.suffix): stored.axes},
    )


def _joined(one: Pool, other: Pool) -> Pool:
    """The same pool with what both store."""
    parts = tuple(
        a.model_copy(update={"stored": a.stored | b.stored})
        for a, b in zip(one.parts, other.parts, strict=True)
    )
    return one.model_copy(update={"parts": parts})


def canonical_name(name: str, part: StatePart) -> str:
    """The name in state files: that of the layer and the part's, `layers.0.keys`.

    A part without a name has that of its state, `layers.0.q_window`: a layer may have several.
    """
    if not part.name:
        return name
    stem, _, _ = name.rpartition(".")
    return f"{stem}.{part.name}" if stem else part.name
