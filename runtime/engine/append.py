"""A call that appends tokens to a sequence, as chunks of steps."""

from collections.abc import Callable, Sequence
from types import TracebackType

import numpy as np

from sala_compile.runtime.devices.draw import Draw
from sala_compile.runtime.engine.chunk import SequenceChunk, StepResult
from sala_compile.runtime.state.prefix_cache import PrefixReport
from sala_compile.runtime.state.store import Snapshot, State, interruption

Progress = Callable[[int], None]
"""Called after a chunk with the number of tokens that are appended; it may raise to cancel."""


class Append:
    """Tokens that become part of a sequence in one call, which steps carry out chunk by chunk.

    `Engine.append` begins it. Until it is left (a `with` block, or `close`) the sequence is in the
    middle of the call: nothing else may be done with it. Left before its end, the sequence returns
    to where the call began if there is a snapshot, else further back.
    """

    def __init__(
        self,
        state: State,
        token_ids: np.ndarray,
        *,
        chunk: int,
        multiple: int,
        logits: np.ndarray | None,
        draws: Sequence[Draw],
        generated: bool,
        end: Callable[["Append", bool], None],
    ) -> None:
        """For engines: `chunk` tokens of a step at most, cut at absolute multiples of `multiple`.

        With `logits` [tokens, vocabulary] those of every token are computed, and go there. `end` is
        called once, with whether all was done.
        """
        self.state = state
        self.begin = state.length
        self.call_length = state.length + len(token_ids)
        self.result = StepResult(logits)
        """The logits that were wanted so far, or the token that the device chose."""
        self.snapshot_lengths: list[int] = []
        """Where the prefix cache keeps the state: no chunk goes across one of them."""
        self.report: PrefixReport | None = None
        """What the prefix cache did; None without a cache."""
        self.return_point: Snapshot | None = None
        self._token_ids = token_ids
        self._chunk = chunk
        self._multiple = multiple if chunk >= multiple else 1
        self._every_row = logits is not None
        self._draws = draws
        self._generated = generated
        self._end: Callable[[Append, bool], None] | None = end
        self._offered: tuple[SequenceChunk, int] | None = None

    @property
    def left(self) -> int:
        """How many tokens are not appended yet."""
        return self.call_length - self.state.length

    @property
    def appended(self) -> int:
        """How many tokens are appended, those that the prefix cache had included."""
        return self.state.length - self.begin

    @property
    def finished(self) -> bool:
        """Whether all is appended, or a logit was not a number."""
        return self.left == 0 or self.result.error is not None

    def next_chunk(
        self, limit: int | None = None, *, every_row: bool = False
    ) -> SequenceChunk | None:
        """The next tokens for a step, at most `limit`; None if that is not enough.

        A `limit` of the target's `read_multiple` tokens is enough. With `every_row` the step's
        result has the logits of all of them. RequestError where the sequence was interrupted.
        """
        first = self.state.length
        if first < self.begin:
            raise interruption()
        last = self._last(first, self._chunk if limit is None else min(limit, self._chunk))
        if last == first:
            return None
        ids = self._token_ids[first - self.begin : last - self.begin]
        is_end = last == self.call_length
        every_row = every_row or self._every_row
        rows = range(0 if every_row else len(ids) - 1, len(ids))
        out = self.result.logits if self._every_row else None
        chunk = SequenceChunk(
            self.state,
            ids,
            last if self._generated else self.call_length,
            generated=self._generated,
            rows=rows if is_end or every_row else (),
            draws=self._draws if is_end and not every_row else (),
            out=None if out is None else out[first - self.begin : last - self.begin],
            call=self,
            keep=last in self.snapshot_lengths,
        )
        self._offered = chunk, first
        return chunk

    def expects(self, chunk: SequenceChunk) -> bool:
        """Whether a chunk is the one that comes next: the newest, and not run yet."""
        offered, first = self._offered or (None, 0)
        return offered is chunk and self.state.length == first

    def done(self, result: StepResult) -> None:
        """Note what a step did for the chunk; raises its error, unless the tokens are appended."""
        if result.error is not None and result.logits is None:
            raise result.error
        if self._every_row:
            self.result.error = result.error
        elif result.logits is not None or result.tokens:
            self.result = result

    def keep_at(self, length: int) -> None:
        """Have the prefix cache keep the state at a length that is still to come."""
        if self.state.length < length <= self.call_length:
            self.snapshot_lengths = sorted({*self.snapshot_lengths, length})

    def pause(self) -> None:
        """End the call where it is; what is left of the text can be appended by another.

        That has the same bits if the text is as long as this call would have made it.
        """
        self._leave(True)

    def close(self) -> None:
        """End the call; one that is not finished is cancelled."""
        self._leave(self.left == 0)

    def __enter__(self) -> "Append":
        """The call itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the call, cancelled where an error leaves the block."""
        self._leave(error is None and self.left == 0)

    def _leave(self, complete: bool) -> None:
        end, self._end = self._end, None
        if end is not None:
            end(self, complete)

    def _last(self, first: int, size: int) -> int:
        """The end of a chunk of at most `size` tokens from `first` on; `first` if there is none."""
        stops = (length for length in self.snapshot_lengths if length > first)
        last = min(first + size, next(stops, self.call_length))
        if last == first + size and last < self.call_length:
            last -= last % self._multiple
        return max(first, last)
