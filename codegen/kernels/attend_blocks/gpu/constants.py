"""What the Triton functions of attend_blocks are compiled for."""

from typing import Any, NamedTuple


class Constants(NamedTuple):
    """Fields of the spec, and the sizes of tiles that follow from it and from the schedule.

    A tile has QUERIES queries of HEADS rows each, TOKENS keys and COLUMNS columns of a head, powers
    of two that hold GROUP, BLOCK and D; LIST holds BUDGET entries. Without LISTS every block is
    read. SPLITS programs share the blocks of a decoded token.
    """

    KV_HEADS: Any
    GROUP: Any
    D: Any
    BLOCK: Any
    PAGE_BLOCKS: Any
    SCALE: Any
    Q_START: Any
    Q_PITCH: Any
    GATE: Any
    GATE_START: Any
    GATE_PITCH: Any
    OUT_PITCH: Any
    LISTS: Any
    BUDGET: Any
    QUERIES: Any
    HEADS: Any
    TOKENS: Any
    COLUMNS: Any
    LIST: Any
    SPLITS: Any
