"""The named states of an application: records at its URL, made and removed by the engines."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ray.serve.handle import DeploymentHandle

from sala_compile.runtime.errors import StateFileError
from sala_compile.runtime.serving.kept.named_state import NamedState, UnknownState, checked_id
from sala_compile.runtime.serving.kept.record_files import UrlRecords
from sala_compile.runtime.serving.ray.event_parcel import unpacked_error
from sala_compile.runtime.serving.ray.held_pages import PromptPages

_LOG = logging.getLogger("sala_compile.serve")
_POLL = 0.05


class RemoteStates:
    """As NamedStates of one server. For threads that may wait, not for the loop."""

    def __init__(
        self, engines: DeploymentHandle[Any], records: UrlRecords, pages: PromptPages
    ) -> None:
        """For the handle of the engines' deployment, and the records that they write."""
        self._pages = pages
        self._create = engines.options(method_name="create_state")
        self._delete = engines.options(method_name="delete_state")
        self._bytes = engines.options(method_name="state_bytes")
        self._records = records

    def create(
        self,
        name: str,
        ids: np.ndarray,
        *,
        messages: Sequence[dict[str, Any]] | None = None,
        prompt: str | Sequence[int] | None = None,
        client: str = "",
        cancelled: Callable[[], bool] = lambda: False,
    ) -> NamedState:
        """Have an engine read a text and keep its state, as of NamedStates."""
        given = {"messages": messages, "prompt": prompt, "client": client}
        pages = self._pages.of(np.append(ids, 0))
        response = self._create.remote(checked_id(name), ids, given, pages=pages)
        while True:
            try:
                state, error = response.result(timeout_s=_POLL)
                break
            except TimeoutError:
                if cancelled():
                    response.cancel()
        if state is None:
            raise unpacked_error(error)
        return state

    def get(self, name: str) -> NamedState:
        """The state of that id; UnknownState if there is none."""
        try:
            return self._records.read(checked_id(name))
        except StateFileError:
            raise UnknownState(
                f"there is no state {name!r}",
                where="state_id",
                fix="create it with POST /v1/states",
            ) from None

    def delete(self, name: str) -> None:
        """Remove a state; UnknownState if there is none."""
        error: bytes = self._delete.remote(checked_id(name)).result()
        if error:
            raise unpacked_error(error)

    def all(self) -> list[NamedState]:
        """All states by their age, without their texts."""
        found = self._records.all(lambda each: _LOG.warning("%s: %s", each.where, each.found))
        return sorted(found, key=lambda state: (state.created, state.id))

    def size(self, state: NamedState) -> int:
        """Bytes of the files of a state; others may need some of them as well."""
        return int(self._bytes.remote(state).result())
