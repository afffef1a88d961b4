"""Drafts from the text itself: what followed the last place that ends as the text does now."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHORT, LONG = 3, 8
"""Tokens that a place has in common with the end of the text at least, and for a place far back."""
NEAR = 32
"""Of the places that share `SHORT` tokens so many are compared, the newest first."""
COMPARED = 64
"""Tokens that a comparison looks at, at most."""
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Draft:
    """Tokens that may follow; the `shared` tokens before them are those at the end of the text."""

    token_ids: list[int]
    shared: int


class TextDrafts:
    """A text that grows, and an index of the places where short runs of its tokens end.

    A text of n tokens costs 24 n bytes and one sort; a draft is a look into two tables.
    """

    def __init__(self, token_ids: Sequence[int] | np.ndarray) -> None:
        """Index a text."""
        given = np.asarray(token_ids, np.int32)
        self._length = len(given)
        self._tokens = np.empty(max(256, 2 * len(given)), np.int32)
        self._tokens[: len(given)] = given
        self._indexed = {width: _Places(given, width) for width in (LONG, SHORT)}
        self._added: dict[int, dict[bytes, int]] = {LONG: {}, SHORT: {}}
        self._followed = 0

    def add(self, token: int) -> None:
        """Let the text grow by a token."""
        if self._length == len(self._tokens):
            self._tokens = np.concatenate([self._tokens, np.empty_like(self._tokens)])
        for width, places in self._added.items():
            if self._length >= width:  # what ends here has no token after it before now
                places[self._end(width).tobytes()] = self._length
        self._tokens[self._length] = token
        self._length += 1
        follows = self._followed and self._tokens[self._followed] == token
        self._followed = self._followed + 1 if follows else 0

    def draft(self, count: int) -> Draft | None:
        """Up to `count` tokens that may follow; None if no place ends as the text does."""
        best = shared = 0
        for place in self._candidates():
            common = self._common(place)
            if common > shared:
                best, shared = place, common
        if shared < SHORT:
            return None
        self._followed = best
        end = min(best + count, self._length)
        return Draft(self._tokens[best:end].tolist(), shared)

    def _candidates(self) -> list[int]:
        """Places after runs that the text ends with: those that are longest or newest first."""
        found = [self._followed] if self._followed else []
        for width in (LONG, SHORT):
            if self._length < width:
                continue
            end = self._end(width)
            newest = self._added[width].get(end.tobytes())
            if newest is not None:
                found.append(newest)
            found += self._indexed[width].after(end)
        return found

    def _end(self, width: int) -> np.ndarray:
        return self._tokens[self._length - width : self._length]

    def _common(self, place: int) -> int:
        """How many tokens before a place are those at the end of the text."""
        width = min(place, COMPARED)
        there = self._tokens[place - width : place]
        differ = np.flatnonzero(there != self._end(width))
        return width if len(differ) == 0 else width - 1 - int(differ[-1])


class _Places:
    """The places after each run of `width` tokens of a text, by a hash of the run."""

    def __init__(self, token_ids: np.ndarray, width: int) -> None:
        count = max(0, len(token_ids) - width)  # a run at the end has nothing after it
        hashes = np.zeros(count, np.uint64)
        for number in range(width):
            hashes = _mixed(hashes, token_ids[number : number + count])
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._order = hashes[order], order.astype(np.int32)
        self._width = width

    def after(self, run: np.ndarray) -> list[int]:
        """The newest places after a run, or after one of the same hash."""
        wanted = np.zeros(1, np.uint64)
        for token in run:
            wanted = _mixed(wanted, token[None])
        first = int(np.searchsorted(self._hashes, wanted, side="left")[0])
        last = int(np.searchsorted(self._hashes, wanted, side="right")[0])
        newest = self._order[max(first, last - NEAR) : last][::-1]
        return (newest + self._width).tolist()


def _mixed(hashes: np.ndarray, token_ids: np.ndarray) -> np.ndarray:
    mixed = (hashes ^ token_ids.astype(np.uint64)) * _MIX
    return mixed ^ (mixed >> np.uint64(29))
