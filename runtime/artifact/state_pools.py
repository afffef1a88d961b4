"""The state of a model as `program.json` describes it: groups of pages, and pools of their rows."""

from collections.abc import Mapping
from math import prod

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from sala_compile.runtime.artifact.dims import Dim, Symbol, dim_of
from sala_compile.runtime.artifact.format_model import Frozen

_NAME = r"^[a-z][a-z0-9_]*$"


def pages_of(group: str) -> str:
    """The symbol for the pages of a group: rows of its pools."""
    return f"{group}_pages"


def columns_of(group: str) -> str:
    """The symbol for a group's pages of the longest sequence: columns of its table."""
    return f"sequence_{group}_pages"


class PageGroup(Frozen):
    """Pages that sequences take as they grow, of `tokens` tokens each.

    `table` names the input int32 [slots, pages of the longest sequence] that says which page is
    whose; `label` is for people.
    """

    table: str = Field(pattern=_NAME)
    tokens: PositiveInt
    label: str = Field(min_length=1, max_length=100)


class Paging(Frozen):
    """The page groups of a step; there may be none.

    `page_tokens`: the unit in which prefixes are cut for reuse, of which every page is a multiple.
    """

    page_tokens: PositiveInt
    groups: dict[str, PageGroup] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _whole_units(self) -> "Paging":
        for name, group in self.groups.items():
            if group.tokens % self.page_tokens:
                raise ValueError(
                    f"a page of {name} covers {group.tokens} tokens, no whole pages of "
                    f"{self.page_tokens}"
                )
        labels = {group.label for group in self.groups.values()}
        if min(len(self.tables), len(labels)) < len(self.groups):
            raise ValueError("two page groups have one table, or one label")
        return self

    @property
    def tables(self) -> dict[str, tuple[Dim, ...]]:
        """The tables of all groups and their shapes."""
        return {
            group.table: (dim_of(Symbol.SLOTS), dim_of(columns_of(name)))
            for name, group in self.groups.items()
        }

    @property
    def symbols(self) -> frozenset[str]:
        """The symbols that the groups add."""
        return frozenset(s for name in self.groups for s in (pages_of(name), columns_of(name)))

    @property
    def largest_page(self) -> int:
        """Tokens of the largest page."""
        return max((group.tokens for group in self.groups.values()), default=self.page_tokens)


class PoolPart(Frozen):
    """One tensor of a state, of which a sequence has an entry for every `stride` tokens.

    `name` is its name in state files, with the shape `row` of an entry, or of the whole where the
    state is fixed. Entry j is in place j + `skipped` of the sequence's pages: so many are never
    complete. `stored` has a value for each kind of target, with the logical extent that each
    dimension of its rows belongs to: 0 for entries of a page, 1, 2 ... for those of `row`; one that
    is there twice is cut into outer and inner dimensions. Numbers of a drawn state are about as
    large as `unit`.
    """

    name: str = Field(min_length=1)
    row: tuple[PositiveInt, ...]
    stride: PositiveInt = 1
    skipped: NonNegativeInt = 0
    unit: PositiveFloat = 1.0
    stored: dict[str, tuple[NonNegativeInt, ...]] = Field(min_length=1)

    def count(self, length: int) -> int:
        """Complete entries of a sequence of `length` tokens."""
        return max(0, length // self.stride - self.skipped)


class Pool(Frozen):
    """The state of one kind in one layer, of all sequences.

    `group` numbers its rows by pages, None by slots; `memory` is what the plan calls its bytes.
    """

    group: str | None
    memory: str = Field(pattern=_NAME)
    parts: tuple[PoolPart, ...] = Field(min_length=1)

    @property
    def symbol(self) -> str:
        """The symbol that counts the rows of its values."""
        return Symbol.SLOTS if self.group is None else pages_of(self.group)


def check_pool(
    name: str, pool: Pool, paging: Paging, shapes: Mapping[str, tuple[Dim, ...]]
) -> None:
    """Raise ValueError unless the values of a pool hold what it describes."""
    if pool.group is not None and pool.group not in paging.groups:
        raise ValueError(f"pools.{name} is of the page group {pool.group}, which there is none of")
    for part in pool.parts:
        entries = 1
        if pool.group is not None:
            tokens = paging.groups[pool.group].tokens
            if tokens % part.stride:
                raise ValueError(f"pools.{name}: {part.name} have no whole entries in a page")
            entries = tokens // part.stride
        for value, axes in part.stored.items():
            if value not in shapes:
                raise ValueError(f"pools.{name} names the unknown value {value}")
            lead, *dims = shapes[value]
            wanted = (entries, *part.row) if pool.group is not None else (1, *part.row)
            if lead != dim_of(pool.symbol) or not _holds(dims, axes, wanted):
                raise ValueError(
                    f"values.{value} has a shape that no part {part.name} of pools.{name} has"
                )


def _holds(dims: list[Dim], axes: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether every extent has dimensions that are large enough."""
    fixed = [dim for dim in dims if isinstance(dim, int)]
    if len(dims) != len(axes) or len(fixed) < len(dims):
        return False
    pairs = list(zip(fixed, axes, strict=True))
    sizes = [prod(d for d, axis in pairs if axis == extent) for extent in range(len(wanted))]
    known = set(axes) <= set(range(len(wanted)))
    return known and all(size >= least for size, least in zip(sizes, wanted, strict=True))
