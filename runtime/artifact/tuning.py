"""A tuning file: schedules that were searched for one artifact's kernels on one machine.

It is a JSON document. A compiler takes its schedules for kernels with the same constants, for the
same processor, made by the same versions. A runtime takes its library, which is next to it, for
the very artifact that was tuned.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError

from sala_compile.runtime.artifact.format_model import Frozen
from sala_compile.runtime.artifact.manifest import FileInfo, KernelConstant
from sala_compile.runtime.artifact.opened import OpenFile
from sala_compile.runtime.artifact.program import Value
from sala_compile.runtime.common.files import FileRule
from sala_compile.runtime.errors import ArtifactError

VERSION = 1
SUFFIX = ".tuning.json"
_RECORD = FileRule(
    what="the tuning file",
    limit=64 << 20,
    error=ArtifactError,
    expected="a file that sala-tune wrote",
)
_LIBRARY = FileRule(
    what="the library of the tuning",
    limit=1 << 30,
    error=ArtifactError,
    expected="the library that sala-tune wrote next to its file",
    fix="copy both files, or tune again",
)
LIBRARY_SUFFIX = ".so"
"""The suffix of the library of a tuning file, in place of `.json`."""


class TunedCase(Frozen):
    """A kernel at one number of rows: median seconds of clean samples (of all if none was)."""

    work: str
    rows: PositiveInt
    default_seconds: float
    tuned_seconds: float
    clean: NonNegativeInt
    samples: PositiveInt

    @property
    def gain(self) -> float:
        """How many times faster than the default."""
        return self.default_seconds / self.tuned_seconds


@dataclass(frozen=True, slots=True)
class KernelBuild:
    """A kernel as one of its schedules makes it: the library, and the workspaces it needs."""

    symbol: str
    library: Path
    workspaces: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class KernelTrial:
    """A build compared with the default at one kind of work; samples were taken in turn.

    `equal` says that the results have the same bits; else `difference` is the largest one, and
    `largest` the largest value.
    """

    case: TunedCase
    equal: bool
    difference: float
    largest: float


class TunedKernel(Frozen):
    """The best schedule found for a kernel, the default if nothing was faster.

    `workspaces` are the buffers that it needs, in the order in which the kernel takes them.
    `differs` is the largest difference from the default's results, 0 if they are equal to the
    bit; `tried` and `refused` count candidates. `complete` says that none was left out for time.
    """

    family: str
    spec: dict[str, KernelConstant]
    schedule: dict[str, Any]
    is_default: bool
    workspaces: tuple[Value, ...]
    cases: tuple[TunedCase, ...]
    differs: float
    tried: NonNegativeInt
    refused: NonNegativeInt
    complete: bool

    @property
    def gain(self) -> float:
        """How many times faster than the default, over all cases alike."""
        product = 1.0
        for case in self.cases:
            product *= case.gain
        return product ** (1 / len(self.cases)) if self.cases else 1.0


class Tuning(Frozen):
    """A tuning file. `artifact` is the digest of its manifest, `target` its target's name.

    `processor` is the target that kernels were compiled for (`cpu:znver5`), `versions` those of
    the packages that did it. `library` is the size and hash of the library next to the file.
    """

    version: int = VERSION
    artifact: str
    target: str
    processor: str
    dtype: str
    threads: PositiveInt
    length: PositiveInt
    versions: dict[str, str]
    kernels: dict[str, TunedKernel] = Field(default_factory=dict)
    library: FileInfo | None = None


def read_tuning(path: Path) -> Tuning:
    """The tuning file at `path`; ArtifactError if it is missing, damaged or too new."""
    data = _RECORD.read(path)
    try:
        found = Tuning.model_validate_json(data)
    except ValidationError as error:
        first: Any = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _unfit(path, f"{place or 'the document'}: {first['msg']}") from None
    if found.version != VERSION:
        raise _unfit(path, f"it has version {found.version}, this is version {VERSION}")
    return found


def tuned_workspaces(tuning: Tuning) -> dict[str, tuple[Value, ...]]:
    """The workspaces of every tuned kernel, by symbol."""
    return {symbol: kernel.workspaces for symbol, kernel in tuning.kernels.items()}


def library_beside(path: Path) -> Path:
    """The path of the library of a tuning file."""
    return path.with_suffix(LIBRARY_SUFFIX)


def checked_library(path: Path, tuning: Tuning) -> OpenFile:
    """The library next to a tuning file, open since its hash was checked; ArtifactError."""
    place = library_beside(path)
    if tuning.library is None:
        raise ArtifactError(
            "the tuning was not finished: it has no library",
            where=str(path),
            fix="run sala-tune again with the same file: it continues where it stopped",
        )
    with _LIBRARY.open(place) as file:
        library = OpenFile(place, os.dup(file.fileno()))
    digest = library.sha256()
    if digest != tuning.library.sha256:
        raise ArtifactError(
            f"the library of the tuning is damaged: its SHA-256 is {digest[:16]}...",
            where=str(place),
            expected=f"{tuning.library.sha256[:16]}...",
            fix="tune again",
        )
    return library


def _unfit(path: Path, found: str) -> ArtifactError:
    return ArtifactError(
        f"the tuning file cannot be used: {found}", where=str(path), fix="tune again"
    )
