"""Tokens that a device chooses itself, so that logits need not leave it."""

from collections.abc import Callable, Iterator

import numpy as np

from sala_compile.runtime.devices.interrupts import Interrupts
from sala_compile.runtime.engine.batch import Work
from sala_compile.runtime.engine.calls import Calls
from sala_compile.runtime.engine.exclusive import Exclusive
from sala_compile.runtime.engine.run_ahead import RunAhead
from sala_compile.runtime.engine.stepper import Stepper
from sala_compile.runtime.errors import DeviceError
from sala_compile.runtime.generation.generation import Answer, Progress
from sala_compile.runtime.generation.sampling import Draw
from sala_compile.runtime.sequence import Sequence, TokenIds
from sala_compile.runtime.state.store import State, StateStore


class DeviceSampling:
    """Continues sequences with tokens chosen on their device."""

    def __init__(
        self,
        calls: Calls,
        steps: Stepper,
        store: StateStore,
        exclusive: Exclusive,
        interrupts: Interrupts,
        *,
        waits: bool,
    ) -> None:
        """With `waits`, no step runs before the token that it is fed with was taken."""
        self._calls = calls
        self._steps = steps
        self._store = store
        self._exclusive = exclusive
        self._interrupts = interrupts
        self._waits = waits

    @property
    def available(self) -> bool:
        """Whether the device can choose tokens."""
        return self._steps.samples

    @property
    def has_min_p(self) -> bool:
        """Whether the device can also drop tokens by `min_p`."""
        return self._steps.samples_min_p

    def choose(
        self,
        sequence: Sequence,
        token_ids: TokenIds,
        draw: Draw,
        *,
        progress: Progress | None = None,
    ) -> int:
        """Append tokens in one call; the next one, chosen on a device that can.

        ArtifactError where a logit is not a number, or all are minus infinity.
        """

        def finish() -> Callable[[], int]:
            return self._steps.sample(sequence.state)

        take = self._calls.extend(sequence, token_ids, finish, draws=[draw], progress=progress)
        try:
            return take()
        except DeviceError:
            sequence.state.broken = True
            raise

    def run_ahead(
        self, sequence: Sequence, token: int, draws: Iterator[Draw], count: int
    ) -> Answer:
        """Up to `count` tokens behind `token`, each fed to the next step on the device.

        While the caller has a token the next is computed, so that a sequence whose tokens are not
        all taken is broken in the end; unless the device `waits`.
        """
        if not self._waits:
            ahead = RunAhead(sequence.state, self._fed_step, self._steps.holds_token, self._store)
            yield from ahead.tokens(token, draws, count)
            return
        for _ in range(count):
            token = self.choose(sequence, [token], next(draws))
            yield token

    def _fed_step(self, state: State, token: int | None, draw: Draw) -> Callable[[], int]:
        """Append one token, the newest one chosen if it is not told; what gives the next one."""
        work = Work(state, np.array([token or 0], np.int32), state.length + 1, generated=True)
        with self._interrupts.held(), self._exclusive.entered():
            self._steps.run([work], draws=[draw], fed=token is None)
            self._steps.find_logits()
            self._store.keep_logits(state, 0)
            return self._steps.sample(state)
