"""Why a job was not taken."""

from dataclasses import dataclass

from sala_compile.runtime.errors import RequestError, SalaError


@dataclass(slots=True, eq=False)
class QueueFull(SalaError):
    """As many jobs wait as may; room is likely in `retry_after` seconds."""

    retry_after: float = 1.0


class ServerStopping(SalaError):
    """The server ends, and takes no more jobs."""


class ServerFailed(SalaError):
    """The device or the engine failed again and again; nothing can be answered any more."""


class NeverFits(RequestError):
    """A prompt that memory has no room for if it is alone."""


class ReplicaLost(SalaError):
    """The process of an engine is gone, with the answers that it was computing."""
