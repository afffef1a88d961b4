"""What the Triton functions of linears are compiled for, by the form of the input's rows."""

from typing import Any, NamedTuple

from sala_compile.codegen.layouts.integer_blocks import PANEL_ROWS, IntegerBlocks


class TileConstants(NamedTuple):
    """Many rows: WEIGHT_ROWS rows of the weight give COLUMNS outputs, of which WIDTH are written.

    A tile has TILE_ROWS rows of x and TILE_COLUMNS outputs, and takes STEP values of K at a time;
    BAND tiles of rows go through all columns together. LIVE is the place of the number of rows.
    """

    LIVE: Any
    DEPTH: Any
    X_START: Any
    X_PITCH: Any
    WEIGHT_ROWS: Any
    WEIGHT_PITCH: Any
    BIAS: Any
    SWIGLU: Any
    SCALE: Any
    COLUMNS: Any
    WIDTH: Any
    Y_PITCH: Any
    RESIDUAL_START: Any
    RESIDUAL_PITCH: Any
    PRECISION: Any
    BAND: Any
    TILE_ROWS: Any
    TILE_COLUMNS: Any
    STEP: Any


class RowConstants(NamedTuple):
    """Few rows: K in PARTS of PART values, STEP at a time; of integers a part has PART blocks.

    A tile has TILE_ROWS rows of x and TILE_COLUMNS rows of the weight, with SWIGLU half of them
    gates; TILES of them make a row of y. NORM, SQUARES, EPS and SCALED as in split_norm.py.
    """

    LIVE: Any
    DEPTH: Any
    X_START: Any
    X_PITCH: Any
    WEIGHT_ROWS: Any
    WEIGHT_PITCH: Any
    NORM: Any
    SQUARES: Any
    EPS: Any
    BIAS: Any
    SWIGLU: Any
    SCALE: Any
    COLUMNS: Any
    Y_PITCH: Any
    RESIDUAL_START: Any
    RESIDUAL_PITCH: Any
    SCALED: Any
    TILES: Any
    PRECISION: Any
    PARTS: Any
    PART: Any
    STEP: Any
    TILE_ROWS: Any
    TILE_COLUMNS: Any


class IntegerConstants(NamedTuple):
    """A weight of `layouts.integer_blocks`: BLOCKS blocks of BLOCK columns in STORED words a panel.

    A row of a block has WORDS words, each with codes of LOW bits at places SPAN columns apart, and
    HIGH more bits of every code behind all words. GROUP columns have a scale, and a zero or a
    minimum; with SUPER so many columns have the scale that factors of groups multiply.
    """

    BITS: Any
    LOW: Any
    HIGH: Any
    WORDS: Any
    SPAN: Any
    BLOCK: Any
    BLOCKS: Any
    STORED: Any
    GROUP: Any
    ZEROS: Any
    MINIMA: Any
    SUPER: Any

    @classmethod
    def of(cls, shapes: IntegerBlocks) -> "IntegerConstants":
        """Those of a layout."""
        return cls(
            BITS=shapes.bits,
            LOW=shapes.low,
            HIGH=shapes.high,
            WORDS=shapes.words,
            SPAN=2 * shapes.words,
            BLOCK=shapes.block,
            BLOCKS=shapes.codes_shape[1],
            STORED=PANEL_ROWS * (shapes.words + shapes.high_words),
            GROUP=shapes.group,
            ZEROS=shapes.zeros,
            MINIMA=shapes.minima,
            SUPER=shapes.super_block,
        )
