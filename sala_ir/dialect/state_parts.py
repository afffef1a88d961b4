"""What a state type says of its pool: who numbers the rows, and the tensors it consists of.

A new kind of state describes itself here and nowhere else: what the program, the planner, memory,
state files and prefixes know of it follows from this description.
"""

from dataclasses import dataclass
from enum import StrEnum

TABLE = "_table"
"""How the name of every table of pages ends."""


class Shared(StrEnum):
    """Along which extent neighbours share 32 bits where elements are narrow, on processors."""

    COLUMNS = "columns"
    """The last extent of an entry: what is multiplied along it lies together."""
    ENTRIES = "entries"
    """The entries of a page."""
    ROW = "row"
    """The last extent, and an entry's columns follow each other: it is read both ways."""


@dataclass(frozen=True, slots=True)
class StatePart:
    """One tensor of a state, of which a sequence has one entry for every `stride` tokens.

    `suffix` is what kernels call it ("" where a state is one tensor), `name` its canonical name in
    state files ("" for that of the state, of which a layer may have several). `row` is the shape of
    an entry, or of the whole where the state is fixed. The first `skipped` entries of a sequence
    are never complete: entry j is in place j + skipped. Of a part whose entries are whole pages
    nothing is `shared`: all targets store the row as it is.

    Elements are those of the state, or `words` of 32 bits, each several integers. A part with
    `slots` has one row for each sequence although the state has pages: that is what plans call its
    bytes. `unit` is how large its numbers are in a state that is drawn. On processors the entries
    of a page lie in runs of `run`, one after the other, where they divide into such; 0: in one.
    """

    suffix: str
    name: str
    row: tuple[int, ...]
    stride: int = 1
    skipped: int = 0
    shared: Shared | None = Shared.COLUMNS
    words: bool = False
    slots: str | None = None
    unit: float = 1.0
    run: int = 0

    @property
    def is_whole_page(self) -> bool:
        """Whether an entry is stored as it is, the only one of its page."""
        return self.shared is None

    def count(self, length: int) -> int:
        """Complete entries of a sequence of `length` tokens."""
        return max(0, length // self.stride - self.skipped)


@dataclass(frozen=True, slots=True)
class PageNumbering:
    """Rows of a pool are pages that sequences take as they grow.

    States of one `group` have their pages in one `table` (an argument of the step); a page covers
    `tokens` tokens in each of them. `label` is for people.
    """

    group: str
    table: str
    tokens: int
    label: str
