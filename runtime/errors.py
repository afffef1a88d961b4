"""Errors that a user can mend: each says what was found, where, what was expected, what to do."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class SalaError(Exception):
    """A user's mistake or a damaged input.

    `found` is one sentence on what is wrong, `where` names the file, key, layer or tensor,
    `expected` what would have been right, `fix` what to do about it.
    """

    found: str
    where: str | None = None
    expected: str | None = None
    fix: str | None = None

    def __str__(self) -> str:
        """Render the message, one labelled line for each part that is known."""
        labelled = (("in", self.where), ("expected", self.expected), ("fix", self.fix))
        return "\n".join([self.found, *(f"  {name:<8} {text}" for name, text in labelled if text)])


class ConfigError(SalaError):
    """A model configuration that is missing, contradictory or not supported."""


class CheckpointError(SalaError):
    """A checkpoint whose files or tensors are missing, damaged or of the wrong shape."""


class ArtifactError(SalaError):
    """An artifact that is damaged, of another format version, or not for this machine."""


class MemoryBudgetError(SalaError):
    """A request that does not fit the planned memory."""


class RequestError(SalaError):
    """A prompt or option that cannot be served."""


class DeviceError(SalaError):
    """A device that failed while it worked; what was computed there is lost."""


class StateFileError(SalaError):
    """A state file of another model or a newer version, or one that is damaged or truncated."""


class CompileError(SalaError):
    """A module that cannot be compiled for the requested target."""


@contextmanager
def reported_as(program: str) -> Iterator[None]:
    """End the process with one message: exit code 2 for a user's mistake inside, 130 for Ctrl-C."""
    try:
        yield
    except SalaError as error:
        print(f"{program}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
