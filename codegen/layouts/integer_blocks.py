"""The layout of integer weights on a GPU.

Panels of 64 rows. A block of a panel is 64 x 32 words of 32 bits, 8 KiB in the order of reading:
256 columns of 4 bits or 128 of 8. A place of a word is one code in its low half and one in its high
half, 16 bits apart, so that a mask takes a pair of bf16 out of it. Word r has at place p the
columns 64 p + 2 r and 64 p + 2 r + 1 of the block: what a matrix instruction takes from one thread.
Threads t = r % 4 of a row read the words c = r // 4 that they multiply side by side: word r is at 8
t + c. Where a group is no multiple of 64 columns a row of a block has 16 words, and 32 takes the
place of 64. Scales (float16) and zeros (uint8) are [panels][groups][64]. What pads rows and columns
is 0.
"""

from dataclasses import dataclass

import numpy as np

PANEL_ROWS = 64
LANES = 4
"""Threads that share a row of a matrix instruction's left factor."""
HALF = 16
"""Bits from one code of a pair to the other."""


@dataclass(frozen=True, slots=True)
class IntegerBlocks:
    """A weight [rows, columns] of integers with a scale, and a zero or not, for each `group`."""

    rows: int
    columns: int
    bits: int
    group: int
    zeros: bool = False

    @property
    def refusal(self) -> str | None:
        """Why these integers have no such layout."""
        if self.group % 32 or (self.block % self.group and self.group % self.block):
            return f"groups of {self.group} columns do not fit blocks of {self.block}"
        return None

    @property
    def words(self) -> int:
        """Words of a row in a block."""
        return 16 if self.group % 64 == 32 else 32

    @property
    def in_word(self) -> int:
        """Codes of a word."""
        return 32 // self.bits

    @property
    def block(self) -> int:
        """Columns of a block."""
        return self.words * self.in_word

    @property
    def depth(self) -> int:
        """Columns, padded to whole blocks and groups."""
        unit = max(self.block, self.group)
        return -(-self.columns // unit) * unit

    @property
    def panels(self) -> int:
        """Panels, the last one padded."""
        return -(-self.rows // PANEL_ROWS)

    @property
    def codes_shape(self) -> tuple[int, int, int, int]:
        """Stored shape of the codes, int32."""
        return self.panels, self.depth // self.block, PANEL_ROWS, self.words

    @property
    def groups_shape(self) -> tuple[int, int, int]:
        """Stored shape of scales and zeros."""
        return self.panels, self.depth // self.group, PANEL_ROWS

    def pack_codes(self, codes: np.ndarray) -> np.ndarray:
        """The stored form of unsigned codes [n, columns] of whole panels, or of the last rows."""
        padded = self._padded(codes, self.depth).astype(np.uint32)
        panels, places = padded.shape[0] // PANEL_ROWS, self.in_word // 2
        pairs = padded.reshape(panels, PANEL_ROWS, -1, places, self.words // LANES, LANES, 2)
        shifts = self.bits * np.arange(places, dtype=np.uint32)[:, None, None]
        words = pairs[..., 0] << shifts | pairs[..., 1] << shifts + np.uint32(HALF)
        words = np.bitwise_or.reduce(words, axis=3)
        return (
            np.ascontiguousarray(words.transpose(0, 2, 1, 4, 3))
            .reshape(panels, -1, PANEL_ROWS, self.words)
            .view(np.int32)
        )

    def pack_groups(self, values: np.ndarray) -> np.ndarray:
        """The stored form of scales or zeros [n, groups] of whole panels, or of the last rows."""
        padded = self._padded(values, self.depth // self.group)
        panels = padded.reshape(-1, PANEL_ROWS, padded.shape[1])
        return np.ascontiguousarray(panels.transpose(0, 2, 1))

    def _padded(self, values: np.ndarray, columns: int) -> np.ndarray:
        rows = -values.shape[0] % PANEL_ROWS
        return np.pad(values, [(0, rows), (0, columns - values.shape[1])])
