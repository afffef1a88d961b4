"""The layout of integer weights on a GPU.

Panels of 64 rows. A block of a panel is 64 x 32 words of 32 bits, 8 KiB that one program reads as
they stand: word r of a row holds, from the low bits up, the codes of the columns r, r + 32, r + 64
.. of the block, 256 columns of 4 bits or 128 of 8. So the codes at one place of the words are 32
consecutive columns, and expanding them moves nothing between threads. Scales (float16) and zeros
(uint8) are [panels][groups][64]. What pads rows and columns is 0.
"""

from dataclasses import dataclass

import numpy as np

PANEL_ROWS = 64
WORDS = 32
"""Words of a row in a block."""


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
        if self.group % WORDS or (self.block % self.group and self.group % self.block):
            return f"groups of {self.group} columns do not fit blocks of {self.block}"
        return None

    @property
    def in_word(self) -> int:
        """Codes of a word."""
        return 32 // self.bits

    @property
    def block(self) -> int:
        """Columns of a block."""
        return WORDS * self.in_word

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
        return self.panels, self.depth // self.block, PANEL_ROWS, WORDS

    @property
    def groups_shape(self) -> tuple[int, int, int]:
        """Stored shape of scales and zeros."""
        return self.panels, self.depth // self.group, PANEL_ROWS

    def pack_codes(self, codes: np.ndarray) -> np.ndarray:
        """The stored form of unsigned codes [n, columns] of whole panels, or of the last rows."""
        padded = self._padded(codes, self.depth).astype(np.uint32)
        panels = padded.shape[0] // PANEL_ROWS
        blocks = padded.reshape(panels, PANEL_ROWS, -1, self.in_word, WORDS)
        places = (np.arange(self.in_word, dtype=np.uint32) * np.uint32(self.bits))[:, None]
        words = np.bitwise_or.reduce(blocks << places, axis=3)
        return np.ascontiguousarray(words.transpose(0, 2, 1, 3)).view(np.int32)

    def pack_groups(self, values: np.ndarray) -> np.ndarray:
        """The stored form of scales or zeros [n, groups] of whole panels, or of the last rows."""
        padded = self._padded(values, self.depth // self.group)
        panels = padded.reshape(-1, PANEL_ROWS, padded.shape[1])
        return np.ascontiguousarray(panels.transpose(0, 2, 1))

    def _padded(self, values: np.ndarray, columns: int) -> np.ndarray:
        rows = -values.shape[0] % PANEL_ROWS
        return np.pad(values, [(0, rows), (0, columns - values.shape[1])])
