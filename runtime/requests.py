"""What a caller may ask of a sequence, checked before anything changes."""

from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np

from runtime.errors import RequestError
from runtime.units import is_whole


@dataclass(frozen=True, slots=True)
class Limits:
    """What a loaded model takes: ids below `vocabulary`, texts of up to `context` tokens.

    A step has up to `chunk` new tokens, and gives the logits behind up to `logit_rows` of them.
    """

    vocabulary: int
    context: int
    chunk: int
    logit_rows: int

    def checked_tokens(self, token_ids: Items[int] | np.ndarray, history: int) -> np.ndarray:
        """The ids as int32 [tokens].

        RequestError if there are none, one is no token, or they do not fit the context behind
        `history` tokens.
        """
        ids = np.asarray(token_ids)
        if ids.size == 0:
            raise RequestError("the prompt is empty", expected="at least one token")
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise RequestError(
                f"the prompt is an array of {ids.dtype}, {ids.ndim} dimensions",
                expected="a list of whole numbers",
            )
        wrong = np.flatnonzero((ids < 0) | (ids >= self.vocabulary))
        if len(wrong):
            raise RequestError(
                f"{ids[wrong[0]]} is not a token",
                where=f"token {wrong[0]} of the prompt",
                expected=f"ids from 0 to {self.vocabulary - 1}",
            )
        if history + len(ids) > self.context:
            raise RequestError(
                f"{history + len(ids)} tokens do not fit the context",
                expected=f"at most {self.context} tokens",
                fix="shorten the prompt, or load with a larger context",
            )
        return ids.astype(np.int32)

    def checked_chunk(self, chunk: int | None) -> int:
        """The most new tokens of a step if a caller asks for `chunk`; RequestError below 1."""
        if chunk is not None and not (is_whole(chunk) and chunk >= 1):
            raise RequestError(
                f"a chunk of {chunk!r} tokens is asked", where="chunk", expected="1 or more"
            )
        return self.chunk if chunk is None else min(self.chunk, chunk)


def no_snapshot(length: int, present: int, points: Items[int]) -> RequestError:
    """The refusal to truncate a text of `present` tokens to `length`; names the nearest points."""
    below = [point for point in points if point < length]
    above = [point for point in points if point > length]
    nearest = " and ".join(str(point) for point in [*below[-1:], *above[:1]])
    return RequestError(
        f"there is no snapshot at {length} tokens",
        where=f"a sequence of {present} tokens",
        expected=f"the present length, or a snapshot; the nearest: {nearest}",
        fix="take one with snapshot() on the way, or append again from an earlier one",
    )
