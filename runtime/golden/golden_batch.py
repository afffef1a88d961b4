"""The numbers by which a kernel finds its way in memory, checked before a golden vector is run.

A runtime writes them itself; those of golden.json come from a file, and no kernel checks them.
"""

from collections.abc import Mapping

import numpy as np

from sala_compile.runtime.artifact import InputName, Paging, Symbol, columns_of, pages_of
from sala_compile.runtime.golden.golden_values import malformed

Fields = Mapping[str, np.ndarray]
"""The inputs of a call, by their names in the program."""


class GoldenBatch:
    """The batch that a vector describes: `live` are its tokens, sequences and rows of logits."""

    def __init__(self, fields: Fields, paging: Paging, vocabulary: int, vector: str) -> None:
        """ArtifactError where the control tensor is none, or a field is shorter than what lives."""
        self._fields = fields
        self._paging = paging
        self._vocabulary = vocabulary
        self._where = f"golden.json: {vector}"
        control = fields.get(InputName.CONTROL.value)
        live = [0, 0, 0] if control is None else [int(word) for word in control[:3]]
        if min(live) < 0:
            raise self._wrong(InputName.CONTROL, f"{live}", "sizes from 0")
        self.tokens, self.sequences, self.logit_rows = live

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence after the call."""
        ends = [self._live(InputName.TOKEN_POSITION, self.tokens)]
        history = self._live(InputName.HISTORY, self.sequences)
        if len(history):
            ends.append(history + self._counts() - 1)
        return 1 + max((int(values.max()) for values in ends if len(values)), default=-1)

    def check(self, symbols: Mapping[str, int]) -> None:
        """Raise ArtifactError unless every number stays within buffers of these sizes."""
        tokens, sequences = self.tokens, self.sequences
        self._within(InputName.TOKENS, tokens, self._vocabulary)
        self._within(InputName.TOKEN_SEQUENCE, tokens, sequences)
        self._within(InputName.LOGIT_ROWS, self.logit_rows, tokens)
        self._within(InputName.SLOTS, sequences, symbols[Symbol.SLOTS])
        self._within(InputName.HISTORY, sequences, 2**31)
        self._within(InputName.CALL_LENGTHS, sequences, 2**31)
        self._within(InputName.GENERATED, sequences, 2)
        self._check_offsets()
        self._check_positions()
        for name, group in self._paging.groups.items():
            pages, columns = symbols[pages_of(name)], symbols[columns_of(name)]
            self._check_table(group.table, pages, columns, group.tokens)

    def _live(self, name: InputName, count: int) -> np.ndarray:
        """The live part of a field as int64; nothing where the call has no such field."""
        field = self._fields.get(name.value)
        if field is None:
            return np.zeros(0, np.int64)
        if len(field) < count:
            raise self._wrong(name, f"{len(field)} values", f"{count} or more")
        return field[:count].astype(np.int64)

    def _counts(self) -> np.ndarray:
        offsets = self._live(InputName.OFFSETS, self.sequences + 1)
        if len(offsets):
            return np.diff(offsets)
        parts = self._live(InputName.TOKEN_SEQUENCE, self.tokens)
        parts = parts[(parts >= 0) & (parts < self.sequences)]
        return np.bincount(parts, minlength=self.sequences)

    def _check_offsets(self) -> None:
        offsets = self._live(InputName.OFFSETS, self.sequences + 1)
        if not len(offsets):
            return
        counts = np.diff(offsets)
        if offsets[0] or offsets[-1] != self.tokens or (counts < 0).any():
            raise self._wrong(InputName.OFFSETS, offsets, f"ascending from 0 to {self.tokens}")
        parts = self._live(InputName.TOKEN_SEQUENCE, self.tokens)
        if len(parts) and (parts != np.repeat(np.arange(self.sequences), counts)).any():
            raise self._wrong(InputName.TOKEN_SEQUENCE, parts, "the sequences of the offsets")

    def _check_positions(self) -> None:
        self._within(InputName.TOKEN_POSITION, self.tokens, 2**31)
        positions = self._live(InputName.TOKEN_POSITION, self.tokens)
        parts = self._live(InputName.TOKEN_SEQUENCE, self.tokens)
        if len(positions) and len(parts):
            inside = np.diff(parts) == 0
            if (np.diff(positions)[inside] != 1).any():
                raise self._wrong(InputName.TOKEN_POSITION, positions, "one after the other")

    def _check_table(self, name: str, pages: int, columns: int, size: int) -> None:
        table = self._fields.get(name)
        if table is None:
            return
        needed = -(-self.longest // size)
        if needed > columns:
            raise self._wrong(name, f"{columns} columns", f"{needed}, for {self.longest} tokens")
        used = table[self._live(InputName.SLOTS, self.sequences), :needed]
        if used.size and not (used.min() >= 0 and used.max() < pages):
            raise self._wrong(name, used.reshape(-1), f"pages from 0 to {pages - 1}")

    def _within(self, name: InputName, count: int, limit: int) -> None:
        values = self._live(name, count)
        if len(values) and not (values.min() >= 0 and values.max() < limit):
            raise self._wrong(name, values, f"from 0 to {limit - 1}")

    def _wrong(self, name: str, found: object, expected: str) -> Exception:
        shown = f"from {found.min()} to {found.max()}" if isinstance(found, np.ndarray) else found
        return malformed(f"{name} of the vector is {shown}", expected, self._where)
