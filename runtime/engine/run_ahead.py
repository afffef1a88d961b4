"""Tokens chosen on a device and fed to its next step there, a step before the host asks."""

from collections.abc import Callable, Iterator

from sala_compile.runtime.errors import MemoryBudgetError, RequestError
from sala_compile.runtime.generation.sampling import Draw
from sala_compile.runtime.state.store import State, StateStore

FedStep = Callable[[State, int | None, Draw], Callable[[], int]]
"""Queues a step over one token, over the newest chosen one if it is None; what gives the next."""


class RunAhead:
    """The tokens behind one of a state. Taken partly, they leave the state a token too far."""

    def __init__(
        self, state: State, step: FedStep, holds: Callable[[State], bool], store: StateStore
    ) -> None:
        """`holds` tells whether the device still has the token that a step would be fed with."""
        self._state = state
        self._step = step
        self._holds = holds
        self._store = store

    def tokens(self, token: int, draws: Iterator[Draw], count: int) -> Iterator[int]:
        """`count` tokens; the state is broken if not all of them are taken."""
        if self._state.broken:
            raise RequestError("the sequence was interrupted and cannot go on")
        whole = False
        try:
            pending = self._step(self._state, token, next(draws)) if count else None
            for left in reversed(range(count)):
                assert pending is not None, "a step was queued for every token"
                token, pending, refused = self._next(pending, draws, left)
                yield token
                if refused is not None:
                    whole = True
                    raise refused
            whole = True
        finally:
            self._state.broken = self._state.broken or not whole

    def _next(
        self, pending: Callable[[], int], draws: Iterator[Draw], left: int
    ) -> tuple[int, Callable[[], int] | None, MemoryBudgetError | None]:
        """The token that is on its way, the one behind it, and why there is none."""
        place, following, refused = self._state.length, None, None
        known = None if self._holds(self._state) else pending()
        if left:
            try:
                following = self._step(self._state, known, next(draws))
            except MemoryBudgetError as error:
                refused = error
        token = pending() if known is None else known
        if following is not None:
            self._store.tokens[self._state.slot, place] = token
        return token, following, refused
