"""The work of one sequence in a step, and its result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sala_compile.runtime.devices.draw import Draw
from sala_compile.runtime.engine.logit_check import no_choice, not_a_number
from sala_compile.runtime.errors import DeviceError, SalaError
from sala_compile.runtime.state.store import State

Accept = Callable[[np.ndarray], int]
"""Gets the logits after each token of a chunk and returns how many of the tokens remain."""
_ALL_MASKED = 2


class SampledToken:
    """A token that a device chose for a sequence, perhaps still on its way to the host.

    `row` is the row of the choice in the step that made it.
    """

    def __init__(self, state: State, row: int, arrival: Callable[[], np.ndarray]) -> None:
        """`arrival` waits for all choices of the step, int32 [rows, 2]: a token and a mark."""
        self.state = state
        self.row = row
        self._arrival = arrival

    def take(self) -> int:
        """Wait for the token.

        ArtifactError if a logit was not a number, or all were minus infinity. DeviceError if
        the device failed meanwhile; the sequence is broken then.
        """
        try:
            token, mark = self._arrival()[self.row].tolist()
        except DeviceError:
            self.state.broken = True
            raise
        if mark:
            raise no_choice() if mark == _ALL_MASKED else not_a_number()
        return token


@dataclass(slots=True)
class SequenceChunk:
    """New tokens of one sequence in a step.

    `token_ids` are int32 [tokens]; a chunk with `fed` has one, which is ignored: the device uses
    the token that it chose for the sequence in an earlier step. `call_length` is the length of the
    sequence when its whole call is done. Tokens that were `generated` take the arithmetic of steps
    of one token each, in any number; others are read. `rows` are the tokens of the chunk after
    which logits are requested, ascending: they come to the host, or the device chooses a token from
    each, if there are `draws` (one for each row). Logits go to `out` [rows, vocabulary] float32, or
    to a new array. `call` is the call of several chunks that this one belongs to; with `keep`, the
    prefix cache keeps the state after the chunk.

    Tokens after the first may be drafts: `accept` gets the logits after each token, [tokens,
    vocabulary], and returns how many tokens remain, one at least; the sequence is then as if there
    had been no others. It does not use the model. `checkpoint` is the engine's: the first row for
    the states between tokens.
    """

    state: State
    token_ids: np.ndarray
    call_length: int
    generated: bool = False
    rows: Sequence[int] = ()
    draws: Sequence[Draw] = ()
    fed: SampledToken | None = None
    out: np.ndarray | None = None
    call: object = None
    keep: bool = False
    accept: Accept | None = None
    checkpoint: int = field(default=-1, init=False)

    @classmethod
    def verify(
        cls,
        state: State,
        token_ids: np.ndarray,
        accept: Accept,
    ) -> "SequenceChunk":
        """A generated token and what may follow it, of which `accept` says how many remain."""
        end = state.length + len(token_ids)
        return cls(state, token_ids, end, True, range(len(token_ids)), accept=accept)

    @classmethod
    def decode(
        cls, state: State, token: int | SampledToken, draw: Draw | None = None
    ) -> "SequenceChunk":
        """One generated token: its logits, or the next token chosen on the device."""
        fed = token if isinstance(token, SampledToken) else None
        ids = np.array([token if fed is None else 0])
        draws = () if draw is None else (draw,)
        return cls(state, ids, state.length + 1, True, (0,), draws, fed)

    @property
    def history(self) -> int:
        """Tokens of the sequence before the step."""
        return self.state.length

    @property
    def slot(self) -> int:
        """The row of the sequence in tables and pools."""
        return self.state.slot

    def __len__(self) -> int:
        """The number of tokens."""
        return len(self.token_ids)


@dataclass(slots=True)
class StepResult:
    """What a step did for one chunk.

    `logits` are float32 [rows, vocabulary], None unless some were requested for the host; `tokens`
    are those that the device chose. With an `error` that is a NotANumberError the sequence has its
    new tokens; with any other it is as it was before the step.
    """

    logits: np.ndarray | None = None
    tokens: tuple[SampledToken, ...] = ()
    error: SalaError | None = None

    def checked(self) -> "StepResult":
        """The result itself; raises its error."""
        if self.error is not None:
            raise self.error
        return self
