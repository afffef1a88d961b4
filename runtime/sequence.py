"""The token ids of one conversation and their state, as users hold them."""

from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import numpy as np

from sala_compile.runtime.common.checks import (
    checked_call,
    checked_flag,
    checked_path,
    checked_whole,
)
from sala_compile.runtime.devices.draw import Draw
from sala_compile.runtime.engine.append import Progress
from sala_compile.runtime.engine.chunk import SampledToken, SequenceChunk, StepResult
from sala_compile.runtime.engine.engine import Engine
from sala_compile.runtime.engine.limits import TokenIds
from sala_compile.runtime.engine.logit_check import require_numbers
from sala_compile.runtime.errors import SalaError
from sala_compile.runtime.state.prefix_cache import PrefixReport
from sala_compile.runtime.state.store import State

Answer = Generator[int, None, None]
"""Tokens one by one."""


class TokenSequence:
    """Token ids and their state. `Model.sequence` makes it; use it in a `with` block or close it.

    When a call fails or is cancelled, other sequences continue as before. The sequence of the call
    returns to its newest snapshot, else to nothing if the call began there; if neither is so, it
    refuses to continue until it is truncated.
    """

    def __init__(self, engine: Engine, state: State) -> None:
        """For models: the sequence of `state`."""
        self.engine = engine
        self.state = state
        self.prefix_report: PrefixReport | None = None
        """What the prefix cache did for the newest `append` of several tokens; None without one."""

    @property
    def remaining(self) -> int:
        """How many more tokens fit the context."""
        return self.engine.limits.context - self.state.length

    @property
    def token_ids(self) -> list[int]:
        """The tokens so far; RequestError if the model is closed."""
        return self.engine.states.token_ids(self.state)

    @property
    def last_logits(self) -> np.ndarray:
        """A copy of the logits [vocabulary] float32 after the last token.

        RequestError if they were not computed: in an empty sequence, or after `truncate`.
        """
        return self.engine.states.last_logits(self.state)

    def append(
        self,
        token_ids: TokenIds,
        progress: Progress | None = None,
        *,
        generated: bool | None = None,
    ) -> np.ndarray:
        """Append tokens in one call; the logits [vocabulary] float32 after the last.

        The length after the call decides the attention path of the sparse layers. `progress` gets
        the number of tokens that are done after each chunk; it may raise to cancel. Tokens that a
        model `generated` get the bits of single steps, others are read; None takes a single token
        as generated.

        NotANumberError if a logit is NaN; the tokens are appended all the same.
        """
        checked_call("progress", progress)
        logits = self._append(token_ids, progress, generated).logits
        assert logits is not None, "a call without draws has logits"
        return logits[0]

    @property
    def samples(self) -> bool:
        """Whether `choose` can be used: the device chooses tokens."""
        return self.engine.stepper.samples

    @property
    def samples_min_p(self) -> bool:
        """Whether `choose` takes draws with `min_p`."""
        return self.engine.stepper.samples_min_p

    def choose(
        self,
        token_ids: TokenIds,
        draw: Draw,
        progress: Progress | None = None,
        *,
        generated: bool | None = None,
    ) -> int:
        """Append tokens in one call, as `append`; the next token, chosen on the device.

        ArtifactError if a logit is not a number, or all are minus infinity.
        """
        return self._append(token_ids, progress, generated, [draw]).tokens[0].take()

    def run_ahead(self, token: int, draws: Iterator[Draw], count: int) -> Answer:
        """Up to `count` tokens after `token`, chosen on the device, each fed to its next step.

        While the caller has a token the next is computed, so that the sequence has every token
        that the caller got, the last one included.
        """
        chosen: int | SampledToken = token
        refused: SalaError | None = None
        for number in range(count + 1):
            following = None
            if number < count:
                chunk = SequenceChunk.decode(self.state, chosen, next(draws))
                result = self.engine.step([chunk])[0]
                following, refused = next(iter(result.tokens), None), result.error
            if isinstance(chosen, SampledToken):
                yield chosen.take()
            if refused is not None:
                raise refused
            if following is not None:
                chosen = following

    def verify(
        self, token_ids: TokenIds, choose: Callable[[np.ndarray], int], ends: Callable[[], bool]
    ) -> list[int]:
        """Append a generated token, and those of the drafted ones after it that are right.

        A draft is right if it is what `choose` returns for the logits [vocabulary] after the token
        before; that is also the token that follows the last right one. `ends` says whether an
        answer is over with the token that was chosen last. Returns the chosen tokens: one more
        than were right. All is to the bit as if each token had been appended alone.

        NotANumberError if a logit is NaN; the tokens up to there are appended all the same.
        """
        ids = self.engine.limits.checked_tokens(token_ids, self.state.length)
        chosen: list[int] = []
        refused: list[SalaError] = []

        def accept(logits: np.ndarray) -> int:
            for row, after in enumerate(logits):
                try:
                    require_numbers(after[None], self.state.length - len(ids) + row)
                    chosen.append(choose(after))
                except SalaError as error:
                    refused.append(error)
                    return row + 1
                if ends() or row + 1 == len(ids) or ids[row + 1] != chosen[-1]:
                    return row + 1
            raise AssertionError("there is a last row")

        self.engine.step([SequenceChunk.verify(self.state, ids, accept)])[0].checked()
        if refused:
            raise refused[0]
        return chosen

    @property
    def draft_room(self) -> int:
        """How many drafted tokens `verify` takes after the next token."""
        return self.engine.draft_room(self.state)

    def fork(self) -> "TokenSequence":
        """Another sequence with the same tokens, state and snapshots.

        Full pages are shared; what still changes is copied. MemoryBudgetError if as many
        sequences are alive as were planned.
        """
        return TokenSequence(self.engine, self.engine.states.fork(self.state))

    def snapshot(self) -> int:
        """Make the present length one that `truncate` can return to; the length.

        MemoryBudgetError if no snapshot is free.
        """
        return self.engine.states.snapshot(self.state)

    def snapshots(self) -> list[int]:
        """The lengths that `truncate` can return to, ascending; 0 is always among them."""
        return self.engine.states.snapshots(self.state)

    def drop_snapshot(self, length: int) -> None:
        """Give back the snapshot that `snapshot` took at `length`; without one, do nothing."""
        self.engine.states.drop_snapshot(self.state, length)

    def truncate(self, length: int) -> None:
        """Drop all but the first `length` tokens; RequestError unless there is a snapshot there."""
        checked = checked_whole("length", length, 0, "a whole number from 0")
        self.engine.states.truncate(self.state, checked)

    def save(self, path: str | Path) -> None:
        """Write the state to a file that `Model.restore` reads, on any machine.

        A file that is there is replaced when the new one is whole and durable.
        """
        self.engine.states.save(self.state, checked_path("path", path))

    def check_save(self, path: str | Path, more: int = 0) -> None:
        """Raise StateFileError if the state could not be written to `path`; nothing is written.

        For use before long work: `more` tokens will be appended until then. Checked are the
        directory, what is there, and the free space.
        """
        self.engine.states.check_save(self.state, Path(path), more)

    def _append(
        self,
        token_ids: TokenIds,
        progress: Progress | None,
        generated: bool | None,
        draws: Sequence[Draw] = (),
    ) -> StepResult:
        """One call: a step alone for one more generated token, else as many as it takes."""
        single = _is_single(token_ids)
        known = single if generated is None else checked_flag("generated", generated)
        if self.state.length and progress is None and single and known:
            ids = self.engine.limits.checked_tokens(token_ids, self.state.length)
            end = self.state.length + 1
            chunk = SequenceChunk(self.state, ids, end, True, (0,), draws)
            return self.engine.step([chunk])[0].checked()
        call = self.engine.append(self.state, token_ids, draws=draws, generated=known)
        self.prefix_report = call.report
        return self.engine.finish(call, progress)

    @property
    def closed(self) -> bool:
        """Whether the slot and the pages were given back."""
        return self.state.closed

    def close(self) -> None:
        """Give the slot and the pages back; closing twice does nothing."""
        self.engine.states.close(self.state)

    def __enter__(self) -> "TokenSequence":
        """The sequence itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def __len__(self) -> int:
        """The number of tokens."""
        return self.state.length


def _is_single(token_ids: TokenIds) -> bool:
    """Whether the ids are those of one token."""
    if isinstance(token_ids, np.ndarray):
        return token_ids.shape == (1,)
    return isinstance(token_ids, list | tuple) and len(token_ids) == 1
