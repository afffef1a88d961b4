"""What the Triton functions of select_blocks are compiled for."""

from typing import Any, NamedTuple


class Constants(NamedTuple):
    """Fields of the spec, and the sizes of tiles that follow from it and from the schedule.

    SPAN is the stride of a key of the level that is read, SLOTS those of a page. A tile has QUERIES
    queries of HEADS rows each and COLUMNS columns of a head; KEYS coarse keys, or BLOCKS blocks of
    RATIO fine keys, STEP columns each. SPLITS programs share the keys, SLAB tokens the scores.
    CHOSEN of the BUDGET blocks of a list are found by score, after INITIAL first ones and before
    a WINDOW; the search holds twice NARROW, MIDDLE or WIDTH blocks; LIST holds BUDGET entries.
    """

    KV_HEADS: Any
    GROUP: Any
    D: Any
    BLOCK: Any
    SCALE: Any
    Q_START: Any
    Q_PITCH: Any
    DENSE_LEN: Any
    UNSCORED: Any
    BUDGET: Any
    INITIAL: Any
    CHOSEN: Any
    RATIO: Any
    SPAN: Any
    SLOTS: Any
    SLAB: Any
    QUERIES: Any
    HEADS: Any
    COLUMNS: Any
    KEYS: Any
    BLOCKS: Any
    STEP: Any
    SPLITS: Any
    NARROW: Any
    MIDDLE: Any
    WIDTH: Any
    WINDOW: Any
    LIST: Any
    TIES: Any
