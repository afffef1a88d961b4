"""What the Triton functions of lightning attention are compiled for."""

from typing import Any, NamedTuple


class Constants(NamedTuple):
    """Fields of the spec, and the sizes of tiles that follow from it and from the schedule.

    A state has SIZE = HEAD x HEAD values, which decay by 2^RATES of its head. BLOCK lanes hold a
    head or half of one, programs have COLUMNS columns of a state, ROWS tokens to prepare, PART
    values of a state to scan. A segment of SEGMENT tokens goes in chunks of CHUNK.
    """

    HEADS: Any
    KV_HEADS: Any
    HEAD: Any
    SIZE: Any
    RATES: Any
    SCALE: Any
    EPS: Any
    NORM: Any
    ROPE: Any
    TABLE_PITCH: Any
    Q_START: Any
    Q_PITCH: Any
    K_START: Any
    K_PITCH: Any
    V_START: Any
    V_PITCH: Any
    OUT_PITCH: Any
    SCALED: Any
    GATE_START: Any
    GATE_PITCH: Any
    PRECISION: Any
    SEGMENT: Any
    CHUNK: Any
    BLOCK: Any
    COLUMNS: Any
    ROWS: Any
    PART: Any
