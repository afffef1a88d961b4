"""Loads and runs compiled artifacts: `runtime.load("NAME.sala")` gives a `Model`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.errors import SalaError
    from runtime.loading import load
    from runtime.model import Model
    from runtime.sequence import Sequence

__all__ = ["Model", "SalaError", "Sequence", "load"]

_HOMES = {
    "Model": "runtime.model",
    "SalaError": "runtime.errors",
    "Sequence": "runtime.sequence",
    "load": "runtime.loading",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the leaf modules stay light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'runtime' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
