"""How often the loops of every GPU kernel turn, and the bytes that reuse makes fewer or more.

One function for each Triton function that has loops of interest or reads what others read, by its
name: everything else is counted from its code alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from benchmarks.gpu.sass import Trips

FORCED = 34
"""Blocks that neighbouring queries share: the first one and the local window."""
OWN_SHARE = 0.2214
"""Of a query's other blocks, those that no query before it in the tile has: a union of 8 lists
of 96 is twice as long as a list. Real texts have not been measured."""
SEARCH_PASSES = 20
"""Passes of the search for a threshold, of 31 at most."""


@dataclass(frozen=True, slots=True)
class Case:
    """New tokens of one sequence, and the tokens before them."""

    tokens: int
    context: int
    block: int
    budget: int


Constants = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Work:
    """What a program does beside straight code.

    `trips` are those of its loops, only of loops that multiply matrices where `products`, when
    `others` is that of all other loops. `dram` and `l2` are bytes of the whole launch, None for
    what the code asks for. `idle` launches find nothing to do. `only` are constants with which
    just the path of this case is compiled.
    """

    trips: Sequence[Trips] | None = None
    products: bool = True
    others: float = 1.0
    dram: float | None = None
    l2: float | None = None
    idle: bool = False
    only: Constants = field(default_factory=dict[str, Any])


def union_length(queries: int, case: Case) -> float:
    """Blocks of the union of the lists of neighbouring queries."""
    return FORCED + (case.budget - FORCED) * (1 + OWN_SHARE * (queries - 1))


def _tiles(c: Constants, case: Case, programs: int, weights: float) -> Work:
    sums = 2 if c["SWIGLU"] else 1
    down = ceil(case.tokens / c["TILE_ROWS"])
    across = programs // max(1, down)
    read = (c["TILE_ROWS"] + c["TILE_COLUMNS"] * sums) * c["DEPTH"] * 2.0
    outputs = case.tokens * c["COLUMNS"] * (8.0 if c["RESIDUAL_PITCH"] else 2.0)
    moved = weights + case.tokens * c["DEPTH"] * 2.0 * ceil(across / 64) + outputs
    return Work([c["DEPTH"] / c["STEP"]], dram=moved, l2=down * across * read)


def _rows(c: Constants, case: Case, programs: int, weights: float) -> Work:
    steps = ceil(c["PART"] / c["STEP"])
    rows = min(case.tokens, c["TILE_ROWS"])
    return Work([steps], dram=weights, l2=weights + programs * rows * c["DEPTH"] * 2.0)


def _union(c: Constants, case: Case, programs: int, weights: float) -> Work:
    length = union_length(c["QUERIES"], case)
    read = programs * length * c["BLOCK"] * c["D"] * 4.0
    width = case.tokens * c["KV_HEADS"] * c["GROUP"] * c["D"]
    return Work([length], dram=width * 10.0, l2=read)


def _coarse(c: Constants, case: Case, programs: int, weights: float) -> Work:
    turns = case.context / c["SPAN"] / (c["KEYS"] * c["SPLITS"])
    keys = case.context / c["SPAN"] * c["D"] * 2.0
    tiles = programs / c["SPLITS"]
    return Work([turns], dram=c["KV_HEADS"] * keys, l2=tiles * keys)


def _scores(c: Constants, case: Case, programs: int, weights: float) -> Work:
    blocks = case.context / case.block
    turns = blocks / (c["BLOCKS"] * c["SPLITS"])
    keys = blocks * c["RATIO"] * c["D"] * 2.0
    written = case.tokens * c["KV_HEADS"] * blocks * 4.0
    tiles = programs / c["SPLITS"]
    return Work([turns], dram=c["KV_HEADS"] * keys, l2=tiles * keys + written)


def _choice(c: Constants, case: Case, programs: int, weights: float) -> Work:
    blocks = case.context / case.block
    sizes = (c["NARROW"], c["MIDDLE"], c["WIDTH"])
    held = next((size for size in sizes if blocks <= 2 * size), c["WIDTH"])
    passes = 1 if blocks <= 2 * held else 1 + SEARCH_PASSES + 2
    turns = ceil(blocks / held)
    trips: list[Trips] = [SEARCH_PASSES, 0, (0, [0]), 0, 0]
    if passes > 1:
        trips = [0, turns, (SEARCH_PASSES, [turns]), turns, turns]
    only = {"NARROW": held, "MIDDLE": held, "WIDTH": held, "TIES": False}
    return Work(trips, products=False, dram=0.0, l2=programs * blocks * 4.0 * passes, only=only)


def _split(c: Constants, case: Case, programs: int, weights: float) -> Work:
    blocks = case.budget if c["LISTS"] else case.context / case.block
    return Work([blocks / c["SPLITS"]])


def _combine(c: Constants, case: Case, programs: int, weights: float) -> Work:
    # The launch before this one wrote the parts: they are in the second-level cache.
    return Work(dram=0.0)


def _ends(c: Constants, case: Case, programs: int, weights: float) -> Work:
    states = case.tokens / c["SEGMENT"] * c["HEADS"] * c["HEAD"] ** 2 * 4.0
    read = case.tokens * c["HEADS"] * c["HEAD"] * 4.0
    parts = ceil(c["HEAD"] / c["COLUMNS"])
    return Work([c["SEGMENT"] / c["CHUNK"]], dram=2 * read + states, l2=(1 + parts) * read + states)


def _outputs(c: Constants, case: Case, programs: int, weights: float) -> Work:
    states = case.tokens / c["SEGMENT"] * c["HEADS"] * c["HEAD"] ** 2 * 4.0
    read = case.tokens * c["HEADS"] * c["HEAD"] * 4.0
    parts = ceil(c["HEAD"] / c["COLUMNS"])
    l2 = (2 + 2 * parts) * read + states
    return Work([c["SEGMENT"] / c["CHUNK"]], dram=4 * read + states, l2=l2)


def _scan(c: Constants, case: Case, programs: int, weights: float) -> Work:
    segments = case.tokens / c["SEGMENT"]
    moved = (segments + 1) * c["HEADS"] * c["SIZE"] * 8.0
    return Work([segments], products=False, dram=moved, l2=moved)


def _prepare(c: Constants, case: Case, programs: int, weights: float) -> Work:
    moved = case.tokens * (c["HEADS"] + c["KV_HEADS"]) * c["HEAD"] * 8.0
    return Work(dram=moved, l2=moved)


def _step(c: Constants, case: Case, programs: int, weights: float) -> Work:
    # A decoded token keeps no state but its own: the stores of checkpoints are passed over.
    state = c["HEADS"] * c["SIZE"] * 8.0
    moved = state + case.tokens * c["HEADS"] * c["HEAD"] * 14.0
    return Work(dram=moved, l2=moved)


def _windows(c: Constants, case: Case, programs: int, weights: float) -> Work:
    ends = min(case.tokens, c["TOKENS"]) / c["STRIDE"]
    parts = (c["FINE_PARTS"] // 2, c["COARSE_PARTS"] // 2)
    return Work([ends / part for part in parts], products=False)


def _past(c: Constants, case: Case, programs: int, weights: float) -> Work:
    return Work(idle=bool(c["LISTS"]))


def _choose(c: Constants, case: Case, programs: int, weights: float) -> Work:
    # Temperature 0: none of the loops.
    return Work([], others=0.0, dram=0.0, l2=programs * c["GROUPS"] * 4.0)


WORK: dict[str, Callable[[Constants, Case, int, float], Work]] = {
    "multiply_tiles": _tiles,
    "multiply_rows": _rows,
    "multiply_rows_by_integers": _rows,
    "attend_union": _union,
    "attend_past": _past,
    "attend_split": _split,
    "combine_splits": _combine,
    "sum_coarse": _coarse,
    "score_blocks": _scores,
    "list_blocks": _choice,
    "prepare_heads": _prepare,
    "step": _step,
    "end_states": _ends,
    "start_states": _scan,
    "outputs": _outputs,
    "average_windows": _windows,
    "choose": _choose,
}


def work_of(name: str, constants: Constants, case: Case, programs: int, weights: float) -> Work:
    """The work of a launch of a function; `weights` are the bytes of its matrices."""
    known = WORK.get(name)
    return Work() if known is None else known(constants, case, programs, weights)
