"""The layout of integer weights on a GPU.

Panels of 64 rows. A block of a panel is 64 x 32 words of 32 bits, 8 KiB in the order of reading:
256 columns of 4 bits or 128 of 8. A place of a word is one code in its low half and one in its high
half, 16 bits apart, so that a mask takes a pair of bf16 out of it. Word r has at place p the
columns 64 p + 2 r and 64 p + 2 r + 1 of the block: what a matrix instruction takes from one thread.
Threads t = r % 4 of a row read the words c = r // 4 that they multiply side by side: word r is at 8
t + c. Where a group is no multiple of 64 columns a row of a block has 16 words, and 32 takes the
place of 64; where it is none of 32, 8 words and 16. Scales (float16), zeros (uint8) and factors of
super-blocks (int8) are [panels][groups][64], with minima a scale and a minimum in turn. What pads
rows and columns is 0.

Codes of 5 and 6 bits have their low 4 bits in these words. Behind the words of a block are their
high bits, in the same order: 8 or 16 bits for a word, those of its low half before those of its
high half, each by places.
"""

from dataclasses import dataclass

import numpy as np

PANEL_ROWS = 64
LANES = 4
"""Threads that share a row of a matrix instruction's left factor."""
HALF = 16
"""Bits from one code of a pair to the other."""
PLACES = 4
"""Places of a word of codes that have high bits."""


@dataclass(frozen=True, slots=True)
class IntegerBlocks:
    """A weight [rows, columns] of integers with a scale, and a zero or not, for each `group`."""

    rows: int
    columns: int
    bits: int
    group: int
    zeros: bool = False
    minima: bool = False
    super_block: int = 0

    @property
    def refusal(self) -> str | None:
        """Why these integers have no such layout."""
        if self.group % 16 or (self.block % self.group and self.group % self.block):
            return f"groups of {self.group} columns do not fit blocks of {self.block}"
        return None

    @property
    def words(self) -> int:
        """Words of a row in a block, without high bits."""
        return min(32, (self.group & -self.group) // 2)

    @property
    def low(self) -> int:
        """Bits of a code in these words."""
        return self.bits if self.bits == 8 else 4

    @property
    def high(self) -> int:
        """Bits of a code behind them."""
        return self.bits - self.low

    @property
    def high_words(self) -> int:
        """Words of a row in a block that have high bits."""
        return self.words * self.high // 4

    @property
    def in_word(self) -> int:
        """Codes of a word."""
        return 32 // self.low

    @property
    def block(self) -> int:
        """Columns of a block."""
        return self.words * self.in_word

    @property
    def depth(self) -> int:
        """Columns, padded to whole blocks, groups and super-blocks."""
        unit = max(self.block, self.group, self.super_block)
        return -(-self.columns // unit) * unit

    @property
    def panels(self) -> int:
        """Panels, the last one padded."""
        return -(-self.rows // PANEL_ROWS)

    @property
    def entries(self) -> int:
        """Numbers of a group: a scale, and a minimum or not."""
        return 2 if self.minima else 1

    @property
    def codes_shape(self) -> tuple[int, int, int, int]:
        """Stored shape of the codes, int32."""
        words = self.words + self.high_words
        return self.panels, self.depth // self.block, PANEL_ROWS, words

    @property
    def groups_shape(self) -> tuple[int, int, int]:
        """Stored shape of zeros and factors."""
        return self.panels, self.depth // self.group * self.entries, PANEL_ROWS

    @property
    def scales_shape(self) -> tuple[int, int, int]:
        """Stored shape of the scales."""
        scaled = self.super_block or self.group
        return self.panels, self.depth // scaled * self.entries, PANEL_ROWS

    def pack_codes(self, codes: np.ndarray) -> np.ndarray:
        """The stored form of unsigned codes [n, columns] of whole panels, or of the last rows."""
        padded = _padded(codes, self.depth).astype(np.uint32)
        panels, places = padded.shape[0] // PANEL_ROWS, self.in_word // 2
        pairs = padded.reshape(panels, PANEL_ROWS, -1, places, self.words // LANES, LANES, 2)
        lowest = pairs & np.uint32((1 << self.low) - 1)
        shape = (panels, -1, PANEL_ROWS, self.words + self.high_words)
        parts = [self._ordered(lowest, self.low, HALF)]
        if self.high:
            rest = self._ordered(pairs >> self.low, self.high, self.high * PLACES)
            parts.append(rest.astype(np.uint8 if self.high == 1 else np.uint16).view(np.uint32))
        return np.concatenate(parts, axis=2).reshape(shape).view(np.int32)

    def pack_groups(self, values: np.ndarray) -> np.ndarray:
        """The stored form of scales, zeros or factors [n, numbers] of whole panels, or the last."""
        wide = values.dtype == np.float16
        padded = _padded(values, (self.scales_shape if wide else self.groups_shape)[1])
        panels = padded.reshape(-1, PANEL_ROWS, padded.shape[1])
        return np.ascontiguousarray(panels.transpose(0, 2, 1))

    def _ordered(self, pairs: np.ndarray, bits: int, half: int) -> np.ndarray:
        """Words [panels, blocks, rows and words] of pairs `half` bits apart, `bits` for a place."""
        shifts = bits * np.arange(pairs.shape[3], dtype=np.uint32)[:, None, None]
        words = pairs[..., 0] << shifts | pairs[..., 1] << shifts + np.uint32(half)
        words = np.bitwise_or.reduce(words, axis=3)
        ordered = np.ascontiguousarray(words.transpose(0, 2, 1, 4, 3))
        return ordered.reshape(*ordered.shape[:2], -1)


def _padded(values: np.ndarray, columns: int) -> np.ndarray:
    rows = -values.shape[0] % PANEL_ROWS
    return np.pad(values, [(0, rows), (0, columns - values.shape[1])])
