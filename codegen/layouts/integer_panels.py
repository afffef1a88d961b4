"""Rows of integers in panels, the layout that `codegen.layouts.encodings` describes.

A line has 4 bytes of each row of a panel, two words of 16 bits. A unit is what the smallest whole
number of lines holds: 8 columns of 4 bits, 4 of 8 bits. Integers of 5 or 6 bits have units of 32 or
16 columns: lines of their low 4 bits, as those of 4 bits are stored, then one line of their high
bits. Place q of low line n, in the same word, has its high bits from bit 8 (q // 2) + high (2 n + q
% 2) on, `high` being 1 or 2: for each byte of a low line, a shift of the high line and a mask give
the high bits of its low or its high half at bit 4.
"""

from dataclasses import dataclass

import numpy as np

from sala_compile.codegen.layouts.panels import PANEL_ROWS
from sala_compile.sala_ir.checkpoint.integers import Integers

LOW = 4
"""Bits of an integer in a low line; those of 8 bits are stored whole."""


@dataclass(frozen=True, slots=True)
class IntegerPanels:
    """Stored shapes of a weight [rows, columns] of integers in panels of `panel_rows`."""

    rows: int
    columns: int
    bits: int
    group: int
    zeros: bool = False
    minima: bool = False
    super_block: int = 0
    panel_rows: int = PANEL_ROWS

    @property
    def depth(self) -> int:
        """Columns, padded to whole groups, or to whole super-blocks."""
        return -(-self.columns // self._scaled) * self._scaled

    @property
    def codes_shape(self) -> tuple[int, int, int, int]:
        """Shape of the codes, uint16."""
        return self._panels, self.depth * self.bits // 32, self.panel_rows, 2

    @property
    def groups_shape(self) -> tuple[int, int, int]:
        """Shape of zeros and factors."""
        return self._panels, self.depth // self.group * self._entries, self.panel_rows

    @property
    def scales_shape(self) -> tuple[int, int, int]:
        """Shape of the scales, float16."""
        return self._panels, self.depth // self._scaled * self._entries, self.panel_rows

    @property
    def _panels(self) -> int:
        return -(-self.rows // self.panel_rows)

    @property
    def _entries(self) -> int:
        """Numbers of a group: a scale, and a minimum or not."""
        return 2 if self.minima else 1

    @property
    def _scaled(self) -> int:
        """Values of a row that share a float16."""
        return self.super_block or self.group


def low_bits(bits: int) -> int:
    """Bits of an integer that are in its first place."""
    return bits if bits == 8 else LOW


def high_bits(bits: int) -> int:
    """Bits of an integer that are in the last line of its unit; 0: there is none."""
    return bits - low_bits(bits)


def line_columns(bits: int) -> int:
    """Columns of a low line."""
    return 32 // low_bits(bits)


def low_lines(bits: int) -> int:
    """Lines of a unit without the one of high bits."""
    high = high_bits(bits)
    return 4 // high if high else 1


def unit_lines(bits: int) -> int:
    """Lines of a unit."""
    return low_lines(bits) + (high_bits(bits) > 0)


def unit_columns(bits: int) -> int:
    """Columns of a unit."""
    return line_columns(bits) * low_lines(bits)


def high_shift(bits: int, line: int, place: int) -> int:
    """Where, in a word of a high line, the high bits of a place of a low line begin."""
    return 8 * (place // 2) + high_bits(bits) * (2 * line + place % 2)


def panel_codes(integers: Integers, bits: int, panel_rows: int) -> np.ndarray:
    """The codes of some whole panels, the last one padded with rows of code 0."""
    codes = _whole_panels(integers.codes, panel_rows)
    panels, low, high = len(codes) // panel_rows, low_bits(bits), high_bits(bits)
    # [panels, rows, units, lines, places, two words]
    shape = (panels, panel_rows, -1, low_lines(bits), 16 // low, 2)
    split = codes.reshape(shape).astype(np.uint16)
    rest = split >> low if high else split
    if high:
        split &= (1 << low) - 1
    lines = split[..., 0, :]
    for place in range(1, 16 // low):
        lines |= split[..., place, :] << (low * place)
    if high:
        last = np.zeros_like(lines[..., :1, :])
        for line, place in np.ndindex(low_lines(bits), 4):
            last[..., 0, :] |= rest[..., line, place, :] << high_shift(bits, line, place)
        lines = np.concatenate([lines, last], axis=3)
    stored = lines.reshape(panels, panel_rows, -1, 2)
    return np.ascontiguousarray(stored.transpose(0, 2, 1, 3))


def panel_groups(values: np.ndarray, panel_rows: int) -> np.ndarray:
    """Scales or zeros [rows, groups] as [panels, groups, rows of a panel], padded with 0."""
    values = _whole_panels(values, panel_rows)
    grouped = values.reshape(-1, panel_rows, values.shape[1])
    return np.ascontiguousarray(grouped.transpose(0, 2, 1))


def _whole_panels(values: np.ndarray, panel_rows: int) -> np.ndarray:
    missing = -len(values) % panel_rows
    return np.pad(values, [(0, missing), (0, 0)]) if missing else values
