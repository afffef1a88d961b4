"""A text that grows, as users hold it."""

from collections.abc import Iterator
from collections.abc import Sequence as Items
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sala_compile.runtime.common.checks import checked_call, checked_path, checked_whole
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.generation.generation import Answer, Progress
from sala_compile.runtime.generation.sampling import Draw
from sala_compile.runtime.state.prefix_cache import PrefixReport
from sala_compile.runtime.state.store import Snapshot, State

if TYPE_CHECKING:
    from sala_compile.runtime.engine.engine import Engine

TokenIds = Items[int] | np.ndarray


class Sequence:
    """A text whose state is kept. `Model.sequence` makes it; use it in a `with` block or close it.

    Whatever fails or is cancelled, other sequences go on as before. A sequence whose own call is
    cut short returns to its newest snapshot, else to nothing if the call began there; if neither
    is so, it refuses to go on until it is truncated.
    """

    def __init__(self, engine: "Engine", state: State) -> None:
        """For engines: the text of `state`."""
        self._engine = engine
        self.state = state
        self.marks: list[Snapshot] = []
        self.prefix_report: PrefixReport | None = None
        """What the prefix cache did for the newest `append`; None without a cache."""
        self.closed = False
        self.busy = False

    @property
    def engine(self) -> "Engine":
        """For models: the engine that the sequence belongs to."""
        return self._engine

    @property
    def remaining(self) -> int:
        """How many more tokens fit the context."""
        return self._engine.limits.context - self.state.length

    @property
    def token_ids(self) -> list[int]:
        """The tokens so far; RequestError where the model is closed."""
        self.require_usable()
        with self._engine.visited():
            return self._engine.store.text(self.state).tolist()

    @property
    def last_logits(self) -> np.ndarray:
        """A copy of the logits [vocabulary] float32 behind the last token.

        RequestError where they were not computed: in an empty sequence, or after `truncate`.
        """
        self.require_usable()
        return self._engine.calls.last_logits(self)

    def append(self, token_ids: TokenIds, progress: Progress | None = None) -> np.ndarray:
        """Append tokens in one call; the logits [vocabulary] float32 behind the last.

        The length after the call decides the regime of the sparse layers. `progress` is told the
        number of tokens that are done after each chunk; it may raise to cancel.
        """
        checked_call("progress", progress)
        return self._engine.calls.append(self, token_ids, progress=progress)

    @property
    def samples(self) -> bool:
        """Whether `choose` can be used: the device chooses tokens."""
        return self._engine.sampling.available

    @property
    def samples_min_p(self) -> bool:
        """Whether `choose` takes draws with `min_p`."""
        return self._engine.sampling.has_min_p

    def choose(self, token_ids: TokenIds, draw: Draw, progress: Progress | None = None) -> int:
        """Append tokens in one call, as `append`; the next token, chosen on the device."""
        return self._engine.sampling.choose(self, token_ids, draw, progress=progress)

    def run_ahead(self, token: int, draws: Iterator[Draw], count: int) -> Answer:
        """Up to `count` tokens behind `token`, chosen on the device; the sequence is used up."""
        return self._engine.sampling.run_ahead(self, token, draws, count)

    def fork(self) -> "Sequence":
        """Another sequence with the same text, state and snapshots.

        Full pages are shared; what still changes is copied. MemoryBudgetError where as many
        sequences are alive as were planned.
        """
        return self._engine.fork(self)

    def snapshot(self) -> int:
        """Make the present length one that `truncate` can return to; the length.

        MemoryBudgetError where no snapshot is free.
        """
        return self._engine.mark(self)

    def snapshots(self) -> list[int]:
        """The lengths that `truncate` can return to, ascending; 0 is always among them."""
        return self._engine.points(self)

    def drop_snapshot(self, length: int) -> None:
        """Give back the snapshot that `snapshot` took at `length`; without one, do nothing."""
        self._engine.unmark(self, length)

    def truncate(self, length: int) -> None:
        """Drop all but the first `length` tokens; RequestError unless there is a snapshot there."""
        self._engine.truncate(self, checked_whole("length", length, 0, "a whole number from 0"))

    def save(self, path: str | Path) -> None:
        """Write the state to a file that `Model.restore` reads, on any machine.

        A file that stands there is replaced when the new one is whole and durable.
        """
        self._engine.save(self, checked_path("path", path))

    def check_save(self, path: str | Path, more: int = 0) -> None:
        """Raise StateFileError if the state could not be written to `path`; nothing is written.

        To be asked before long work: `more` tokens will be appended until then. Checked are the
        directory, what stands there, and the free space.
        """
        self._engine.check_save(self, Path(path), more)

    def require_usable(self) -> None:
        """Raise RequestError if the sequence is closed, in a call, or was cut short."""
        if self.closed:
            raise RequestError("the sequence is closed", fix="begin a new sequence")
        if self.busy:
            raise RequestError("the sequence is in the middle of a call", fix="wait for its end")
        if self.state.broken:
            raise RequestError(
                "the sequence was interrupted and cannot go on",
                expected="a sequence whose state is whole",
                fix="truncate it to a snapshot or to 0, or begin a new sequence",
            )

    def close(self) -> None:
        """Give the slot and the pages back; closing twice does nothing."""
        if not self.closed:
            self.closed = True
            self._engine.release(self)

    def __enter__(self) -> "Sequence":
        """The sequence itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def __len__(self) -> int:
        """The number of tokens."""
        return self.state.length
