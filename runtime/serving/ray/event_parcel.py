"""Events of a job on their way back from the process of its engine."""

import io
import pickle
from collections.abc import Sequence
from typing import Any

from sala_compile.runtime.errors import SalaError
from sala_compile.runtime.serving.work.event import Event


def packed_events(events: Sequence[Event]) -> bytes:
    """Events as bytes; errors in them keep their class and what they say."""
    file = io.BytesIO()
    _Packer(file, pickle.HIGHEST_PROTOCOL).dump(list(events))
    return file.getvalue()


def unpacked_events(data: bytes) -> list[Event]:
    """The events of some bytes."""
    return pickle.loads(data)


def packed_error(error: SalaError) -> bytes:
    """An error as bytes."""
    file = io.BytesIO()
    _Packer(file, pickle.HIGHEST_PROTOCOL).dump(error)
    return file.getvalue()


def unpacked_error(data: bytes) -> SalaError:
    """The error of some bytes."""
    return pickle.loads(data)


class _Packer(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, SalaError):
            names = [name for kind in type(obj).__mro__ for name in getattr(kind, "__slots__", ())]
            return _error, (type(obj), {name: getattr(obj, name) for name in names})
        return NotImplemented


def _error(kind: type[SalaError], fields: dict[str, Any]) -> SalaError:
    """Exceptions are made anew by their fields, which their own form of bytes leaves out."""
    return kind(**fields)
