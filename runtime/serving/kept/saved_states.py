"""What routes ask of states that have a name."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from sala_compile.runtime.serving.kept.named_state import NamedState


class SavedStates(Protocol):
    """The named states of one model. Any thread that may wait may call."""

    def create(
        self,
        name: str,
        ids: np.ndarray,
        *,
        messages: Sequence[dict[str, Any]] | None = None,
        prompt: str | Sequence[int] | None = None,
        client: str = "",
        cancelled: Callable[[], bool] = ...,
    ) -> NamedState:
        """Read a text, whose tokens are `ids`, keep its state, and give it a name."""
        ...

    def get(self, name: str) -> NamedState:
        """The state of that id; UnknownState if there is none."""
        ...

    def delete(self, name: str) -> None:
        """Remove a state; UnknownState if there is none."""
        ...

    def all(self) -> list[NamedState]:
        """All states by their age, without their texts."""
        ...

    def size(self, state: NamedState) -> int:
        """Bytes of the files of a state."""
        ...
