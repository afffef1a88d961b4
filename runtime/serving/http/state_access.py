"""The named states of a server, for the routes that make them and those that continue them."""

from collections.abc import Callable
from typing import TypeVar

from sala_compile.runtime.errors import SalaError, StateFileError
from sala_compile.runtime.serving.http.api_error import ApiError, of_sala_error
from sala_compile.runtime.serving.http.served_model import ServedModel
from sala_compile.runtime.serving.kept.named_state import NamedState, UnknownState
from sala_compile.runtime.serving.kept.saved_states import SavedStates

Result = TypeVar("Result")


def states_of(served: ServedModel) -> SavedStates:
    """The states; ApiError for a server that keeps none."""
    if served.states is None:
        message = "this server keeps no states; it does if it is started with --prefix-dir"
        raise ApiError(400, message, "state_id", "states_not_kept")
    return served.states


def known_state(served: ServedModel, name: str) -> NamedState:
    """The state of an id; ApiError if there is none."""
    states = states_of(served)
    return refusing(lambda: states.get(name))


def refusing(act: Callable[[], Result]) -> Result:
    """The result; ApiError for what cannot be done."""
    try:
        return act()
    except UnknownState as error:
        raise ApiError(404, error.found, error.where, "state_not_found") from None
    except StateFileError as error:
        raise ApiError(507, error.found, code="state_not_written") from None
    except SalaError as error:
        raise of_sala_error(error) from None
