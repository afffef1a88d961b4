"""What restricts the tokens of an answer."""

from typing import Protocol

import numpy as np


class Constraint(Protocol):
    """Which tokens may come next, by a grammar or a schema. For one answer; one thread at a time.

    Each call ends within a bounded time.
    """

    def allowed(self) -> np.ndarray | None:
        """Packed bits of the allowed ids, uint32 [ceil(vocabulary / 32)]; None if all are.

        Bit `id % 32` of word `id // 32`. At least one bit is set; ends of the answer are among
        them where it may end. The array is valid until the next call. RequestError for a
        grammar that turned out to take too much: the answer cannot continue.
        """
        ...

    def accept(self, token: int) -> None:
        """Note the chosen token; RequestError if it was not allowed."""
        ...

    def complete(self) -> bool:
        """Whether nothing may follow; asked after `accept`."""
        ...
