"""What a loaded model takes, checked before anything changes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeGuard, cast

import numpy as np

from sala_compile.runtime.common.json_text import is_list, quoted
from sala_compile.runtime.common.units import is_whole
from sala_compile.runtime.errors import RequestError

TokenIds = Sequence[int] | np.ndarray


@dataclass(frozen=True, slots=True)
class Limits:
    """What a loaded model takes: ids below `vocabulary`, sequences of up to `context` tokens.

    A step has up to `batch` sequences, with `chunk` new tokens or one for each; the logits after
    `logit_rows` of them are computed at a time. All chunks of a step together have up to `drafts`
    drafted tokens.
    """

    vocabulary: int
    context: int
    chunk: int
    logit_rows: int
    batch: int = 1
    drafts: int = 0

    @property
    def step_tokens(self) -> int:
        """The most new tokens of a step."""
        return max(self.chunk, self.batch)

    def holds_step(self, sequences: int, tokens: int) -> bool:
        """Whether a step can have so many sequences and tokens, at least one of each."""
        return 0 < sequences <= self.batch and 0 < tokens <= self.step_tokens

    def checked_tokens(self, token_ids: Iterable[int] | np.ndarray, history: int) -> np.ndarray:
        """The ids as int32 [tokens].

        RequestError if there are none, one is no token, they are no list, array or iterator of
        whole numbers, or they do not fit the context after `history` tokens.
        """
        if self._is_token(token_ids):
            self.check_room(history + 1)
            return np.array(token_ids, np.int32)
        ids = self._whole_numbers(token_ids)
        if ids.size == 0:
            raise RequestError("the prompt is empty", expected="at least one token")
        wrong = np.flatnonzero((ids < 0) | (ids >= self.vocabulary))
        if len(wrong):
            raise RequestError(
                f"{quoted(int(ids[wrong[0]]))} is not a token",
                where=f"token {wrong[0]} of the prompt",
                expected=f"ids from 0 to {self.vocabulary - 1}",
            )
        self.check_room(history + len(ids))
        return ids.astype(np.int32)

    def check_room(self, length: int) -> None:
        """RequestError for more tokens than the context has."""
        if length > self.context:
            raise RequestError(
                f"{length} tokens do not fit the context",
                expected=f"at most {self.context} tokens",
                fix="shorten the prompt, or load with a larger context",
            )

    def _is_token(self, token_ids: object) -> bool:
        """Whether the ids are a list of one token: what most calls are."""
        if not is_list(token_ids) or len(token_ids) != 1:
            return False
        token = token_ids[0]
        return type(token) is int and 0 <= token < self.vocabulary

    def _whole_numbers(self, token_ids: object) -> np.ndarray:
        """The ids as an array of integers with one dimension, or RequestError."""
        if isinstance(token_ids, Iterator):
            token_ids = [*islice(cast("Iterator[object]", token_ids), self.context + 1)]
        if is_list(token_ids) or _is_tuple(token_ids):
            kinds = set(map(type, token_ids))
            wrong = [kind for kind in kinds if not _is_whole_kind(kind)]
            if wrong:
                place = next(i for i, token in enumerate(token_ids) if type(token) in wrong)
                raise _no_list(f"{quoted(token_ids[place])} in the place {place}")
            if not kinds:
                return np.zeros(0, np.int32)
            ids = np.asarray(token_ids)
            return ids if ids.dtype.kind in "iu" else np.array(token_ids, dtype=object)
        try:
            ids = np.asarray(token_ids)
        except Exception as error:  # what an object of another library raises when it is read
            raise _no_list(f"a value of type {type(token_ids).__name__} ({error})") from None
        if ids.ndim == 1 and (ids.dtype.kind in "iu" or ids.size == 0):
            return ids
        if ids.ndim == 0:
            raise _no_list(quoted(token_ids))
        raise _no_list(f"an array of {ids.dtype}, {ids.ndim} dimensions")

    def checked_chunk(self, chunk: int | None) -> int:
        """The most new tokens of a step if a caller requests `chunk`; RequestError below 1."""
        if chunk is not None and not (is_whole(chunk) and chunk >= 1):
            raise RequestError(
                f"a chunk of {quoted(chunk)} tokens is requested",
                where="chunk",
                expected="1 or more",
            )
        return self.chunk if chunk is None else min(self.chunk, chunk)


def too_many_drafts(count: int, limits: Limits) -> RequestError:
    """The refusal of a step with so many drafted tokens."""
    return RequestError(
        f"a step with {count} drafted tokens is requested",
        where="option speculate of load",
        expected=f"at most {limits.drafts}",
        fix="draft less, or load with a larger speculate",
    )


def _is_tuple(value: object) -> TypeGuard[tuple[Any, ...]]:
    return isinstance(value, tuple)


def _is_whole_kind(kind: type) -> bool:
    """Whether values of a type are integers; those of bool are none."""
    return issubclass(kind, int | np.integer) and kind is not bool


def _no_list(found: str) -> RequestError:
    return RequestError(
        f"the prompt is {found}",
        where="the token ids",
        expected="a list of whole numbers",
        fix="give token ids as a list or a one-dimensional array of integers",
    )


def no_snapshot(length: int, present: int, points: Sequence[int]) -> RequestError:
    """The refusal to truncate from `present` tokens to `length`; names the nearest points."""
    below = [point for point in points if point < length]
    above = [point for point in points if point > length]
    nearest = " and ".join(str(point) for point in [*below[-1:], *above[:1]])
    return RequestError(
        f"there is no snapshot at {length} tokens",
        where=f"a sequence of {present} tokens",
        expected=f"the present length, or a snapshot; the nearest: {nearest}",
        fix="take one with snapshot() on the way, or append again from an earlier one",
    )
