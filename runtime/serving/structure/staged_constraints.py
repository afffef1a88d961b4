"""Constraints of a part of an answer: after its reasoning, or within its calls."""

from collections.abc import Callable, Set
from enum import Enum, auto

import numpy as np

from sala_compile.runtime.serving.structure.grammar_constraint import GrammarConstraint
from sala_compile.runtime.serving.structure.mark_watch import (
    MarkTokens,
    MarkWatch,
    all_but,
    packed,
)

_GAP_TOKENS = 2
"""Tokens of space between the reasoning and what follows."""


class _Stage(Enum):
    BEFORE = auto()
    OPENING = auto()
    INSIDE = auto()
    GAP = auto()
    AFTER = auto()


class AfterReasoning:
    """Restricts what follows the reasoning, which is free; it may be left out.

    A model that opens the reasoning itself may do so with its first tokens.
    """

    def __init__(
        self,
        inner: GrammarConstraint,
        opening: MarkTokens,
        closing: MarkTokens,
        *,
        inside: bool,
        space: Set[int],
        ends: Set[int],
        vocabulary: int,
    ) -> None:
        """`inside` if the prompt ends with the opening mark.

        `space` are the tokens of space, `ends` those that may not come within the reasoning.
        """
        self._inner = inner
        self._opening = opening
        self._watch = MarkWatch(closing)
        self._stage = _Stage.INSIDE if inside else _Stage.BEFORE
        self._vocabulary = vocabulary
        self._space = space
        self._mask = packed(space, vocabulary)
        self._ends = packed(ends, vocabulary)
        self._gap = 0
        self._opened = b""  # of the opening mark, what has come

    def allowed(self) -> np.ndarray | None:
        """Packed bits of the allowed ids, uint32 [ceil(vocabulary / 32)]; None if all are."""
        if self._stage is _Stage.INSIDE:
            forbidden = self._watch.forbidden()
            forbidden = self._ends if forbidden is None else forbidden | self._ends
            return all_but(forbidden, self._vocabulary)
        if self._stage is _Stage.OPENING:
            return packed(self._openings(), self._vocabulary)
        mask = self._inner.allowed()
        if self._stage is _Stage.BEFORE:
            return mask | packed(self._openings(), self._vocabulary)
        return mask | self._mask if self._stage is _Stage.GAP else mask

    def accept(self, token: int) -> None:
        """Note the chosen token; RequestError if it was not allowed."""
        if self._stage is _Stage.INSIDE:
            if self._watch.push(token):
                self._stage = _Stage.GAP
            return
        if self._stage is _Stage.OPENING or (
            self._stage is _Stage.BEFORE
            and token in self._openings()
            and not self._inner.allows(token)
        ):
            self._opened += self._opening.data(token)
            whole = self._opened == self._opening.mark
            self._stage = _Stage.INSIDE if whole else _Stage.OPENING
            return
        if self._stage is _Stage.GAP and token in self._space and not self._inner.allows(token):
            self._gap += 1
            self._stage = _Stage.AFTER if self._gap == _GAP_TOKENS else _Stage.GAP
            return
        self._stage = _Stage.AFTER
        self._inner.accept(token)

    def complete(self) -> bool:
        """Whether nothing may follow."""
        return self._stage is _Stage.AFTER and self._inner.complete()

    def _openings(self) -> Set[int]:
        """The tokens that continue the opening mark."""
        return self._opening.continuing(len(self._opened))


class WithinCalls:
    """Restricts calls from their opening mark on; before and after them an answer is free.

    So is the reasoning, which may name the mark.
    """

    def __init__(
        self,
        opening: MarkTokens,
        call: Callable[[], GrammarConstraint],
        *,
        parallel: bool,
        vocabulary: int,
        reasoning: tuple[MarkTokens, MarkTokens] | None = None,
        inside: bool = False,
    ) -> None:
        """`call` gives the constraint of what follows each opening mark.

        Unless `parallel`, one call ends the answer. `reasoning` are the marks around it, `inside`
        says whether the prompt ends with the first of them.
        """
        self._opening = opening
        self._call = call
        self._parallel = parallel
        self._vocabulary = vocabulary
        self._watch = MarkWatch(opening)
        self._inner: GrammarConstraint | None = None
        self._complete = False
        self._marks = [] if reasoning is None else [MarkWatch(each) for each in reasoning]
        if inside:
            del self._marks[0]

    def allowed(self) -> np.ndarray | None:
        """Packed bits of the allowed ids, uint32 [ceil(vocabulary / 32)]; None if all are."""
        if self._inner is not None:
            return self._inner.allowed()
        watches = [*self._marks[:1]] if self._thinks else [self._watch, *self._marks[:1]]
        masks = [mask for mask in (each.forbidden() for each in watches) if mask is not None]
        return all_but(np.bitwise_or.reduce(masks), self._vocabulary) if masks else None

    @property
    def _thinks(self) -> bool:
        """Whether the reasoning has begun and not ended."""
        return len(self._marks) == 1

    def accept(self, token: int) -> None:
        """Note the chosen token; RequestError if it was not allowed."""
        if self._inner is None:
            thinks = self._thinks
            if self._marks and self._marks[0].push(token):
                del self._marks[0]
            elif not thinks and self._watch.push(token):
                self._inner, self._marks = self._call(), []
            return
        self._inner.accept(token)
        if self._inner.complete():
            self._inner, self._watch = None, MarkWatch(self._opening)
            self._complete = not self._parallel

    def complete(self) -> bool:
        """Whether nothing may follow."""
        return self._complete
