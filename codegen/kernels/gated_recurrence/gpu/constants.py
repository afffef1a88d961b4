"""What the Triton functions of a gated recurrence are compiled for."""

from typing import Any, NamedTuple


class Constants(NamedTuple):
    """Fields of the spec, and the sizes of tiles that follow from it and from the schedule.

    A chunk has up to CHUNK tokens, taken in blocks of BLOCK where decays are vectors. LANES hold a
    key, of which products take PART rows at a time; programs have COLUMNS columns of a state. A
    chunk of a head has PLACE floats in `chunks`: two matrices [CHUNK, CHUNK], then from VECTORS on
    vectors. DELTA and LIMITED say what the rule and the limits are.
    """

    DELTA: Any
    NUM_HEADS: Any
    KEY_HEADS: Any
    KEY_DIM: Any
    VALUE_DIM: Any
    SCALE: Any
    Q_START: Any
    Q_PITCH: Any
    K_START: Any
    K_PITCH: Any
    V_START: Any
    V_PITCH: Any
    DECAY_START: Any
    DECAY_PITCH: Any
    RATE_START: Any
    RATE_PITCH: Any
    EPS: Any
    RATE_SCALE: Any
    CHANNEL_DECAY: Any
    LOWER_BOUND: Any
    LEAST: Any
    MOST: Any
    LIMITED: Any
    SKIP: Any
    OUT_PITCH: Any
    PRECISION: Any
    CHUNK: Any
    BLOCK: Any
    LANES: Any
    PART: Any
    COLUMNS: Any
    PLACE: Any
    VECTORS: Any
