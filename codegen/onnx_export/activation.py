"""An activation in the two shapes that operators want."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Activation:
    """One value as rows [batch * sequence, columns] and as [batch, sequence, columns].

    It comes in one of the shapes; the other one is made at its first use, by `reshape(value,
    spread)`.
    """

    columns: int
    reshape: Callable[[str, int, bool], str]
    _rows: str = ""
    _spread: str = ""

    @property
    def rows(self) -> str:
        """The value of rank 2, as linears and norms read it."""
        if not self._rows:
            self._rows = self.reshape(self._spread, self.columns, False)
        return self._rows

    @property
    def spread(self) -> str:
        """The value of rank 3, as mixers and rotations read it."""
        if not self._spread:
            self._spread = self.reshape(self._rows, self.columns, True)
        return self._spread
