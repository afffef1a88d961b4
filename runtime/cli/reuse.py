"""A sequence that becomes one text after another, reading only what it does not hold already."""

from collections.abc import Sequence

from sala_compile.runtime.engine.append import Progress
from sala_compile.runtime.sequence import TokenSequence

SNAPSHOTS = 3
"""Snapshots to load a model with: one at the beginning that all texts share, one at the newest text
that others may share, and one for a call that is cancelled."""
_WORTH_KEEPING = 256
"""Tokens of a shared beginning that are worth a snapshot."""


class ReusedSequence:
    """Compares tokens one by one: equal ones at the beginning stay, all others are read again."""

    def __init__(self, sequence: TokenSequence) -> None:
        """For an empty sequence, which stays the caller's to close."""
        self.sequence = sequence
        self.reused = 0
        """Tokens of the newest text that were held already."""
        self._ids: list[int] = []
        self._opening: int | None = None
        self._boundary: int | None = None

    def begin(
        self,
        token_ids: Sequence[int],
        *,
        opening: int = 0,
        boundary: int = 0,
        progress: Progress | None = None,
    ) -> list[int]:
        """Make the sequence a beginning of a text; the tokens that are left to be read, if any.

        `opening` tokens begin every later text too, `boundary` tokens probably the next one:
        there, and nowhere else, the sequence can return to. `progress` receives the tokens that
        are done.
        """
        ids = list(token_ids)
        self._return_to(ids)
        self._ids = ids  # however much of it is read, the sequence is a beginning of it
        self.reused = len(self.sequence)
        self._opening = self._read_to(ids, opening, self._opening, _WORTH_KEEPING, progress)
        self._boundary = self._read_to(ids, boundary, self._boundary, 1, progress)
        return ids[len(self.sequence) :]

    def answered(self, token_ids: Sequence[int]) -> None:
        """Note the tokens of the answer, as far as they became part of the sequence."""
        self._ids = [*self._ids, *token_ids][: len(self.sequence)]

    def _return_to(self, ids: list[int]) -> None:
        """Drop what is not the beginning of a text, and one token more than its beginning."""
        sequence = self.sequence
        common = min(common_length(self._ids, ids), len(sequence))
        if not sequence.state.broken and common == len(sequence) < len(ids):
            return
        most = min(common, len(ids) - 1)
        sequence.truncate(max(point for point in sequence.snapshots() if point <= most))
        kept = sequence.snapshots()
        self._opening = self._opening if self._opening in kept else None
        self._boundary = self._boundary if self._boundary in kept else None

    def _read_to(
        self,
        ids: list[int],
        length: int,
        old: int | None,
        least: int,
        progress: Progress | None,
    ) -> int | None:
        """Read up to `length` and take a snapshot there in the place of the `old` one."""
        begin = len(self.sequence)
        if not max(begin, least - 1) < length <= len(ids):
            return old
        if old is not None:
            self.sequence.drop_snapshot(old)
        shifted: Progress | None = None
        if progress is not None:
            shifted = _shifted(progress, begin - self.reused)
        self.sequence.append(ids[begin:length], shifted)
        return self.sequence.snapshot()


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts have in common at their beginnings."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _shifted(progress: Progress, already: int) -> Progress:
    """Reports the tokens of a call in addition to those that were read before it."""
    return lambda done: progress(already + done)
