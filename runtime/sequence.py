"""One sequence: its slot, its length, and the pages that hold its keys and values."""

from collections.abc import Sequence as Tokens
from typing import TYPE_CHECKING

import numpy as np

from runtime.errors import RequestError
from runtime.generation import Progress

if TYPE_CHECKING:
    from runtime.engine import Engine


class Sequence:
    """A text that grows. Made by an engine, given back by `close`.

    `length` counts the tokens whose state is held. The sequence owns one slot (its row in the
    page tables and recurrent pools) and, for every started page of `length`, one page.
    """

    def __init__(self, engine: "Engine", slot: int) -> None:
        """An empty sequence in `slot`."""
        self._engine = engine
        self.slot = slot
        self.length = 0
        self.pages: list[int] = []
        self.compressed_pages: list[int] = []
        self.closed = False
        self.broken = False

    @property
    def remaining(self) -> int:
        """How many more tokens fit the context."""
        return self._engine.context - self.length

    def prefill(self, token_ids: Tokens[int], progress: Progress | None = None) -> np.ndarray:
        """Append all tokens in one call; the logits [vocabulary] float32 behind the last.

        The array is the sequence's own and changes with its next step. `progress` is told the
        number of tokens that are done after each chunk.
        """
        return self._engine.append(self, token_ids, progress=progress)

    def decode(self, token: int) -> np.ndarray:
        """Append one token; the logits [vocabulary] float32 behind it, as in `prefill`."""
        return self._engine.append(self, (token,))

    def require_usable(self) -> None:
        """Raise RequestError if the sequence is closed or was interrupted within a step."""
        if self.closed or self.broken:
            raise RequestError(
                "the sequence is closed" if self.closed else "the sequence was interrupted",
                expected="a sequence whose state is whole",
                fix="begin a new sequence",
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
        return self.length
