"""State files: a magic, a version, a hashed header, and sections with a checksum each.

Layout: 8 bytes magic, uint32 version, uint32 header length, SHA-256 of the header, the header
as JSON, then the sections, each from a multiple of 64 bytes on. Integers are little-endian.
"""

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError

from sala_compile.runtime.artifact.format_model import Frozen, align, canonical_json
from sala_compile.runtime.artifact.outputs import OutputRule
from sala_compile.runtime.artifact.replace import put
from sala_compile.runtime.artifact.staging import staged_file
from sala_compile.runtime.common.files import FileRule, shown, special_kind, stands
from sala_compile.runtime.errors import StateFileError

MAGIC = b"SALASTAT"
VERSION = 2
"""2: spans of tokens name attention paths of the program."""
SUFFIX = ".sala-state"
MAX_HEADER = 8 << 20
PRIVATE = 0o600
"""The mode of state files: they hold what users wrote."""
_INPUT = FileRule(
    what="the state file",
    error=StateFileError,
    expected="a regular file that save wrote",
    fix="name that file; a state is not read from a pipe",
)
_OUTPUT = OutputRule(
    what="the state",
    error=StateFileError,
    fix="free space or choose another path",
)
_PREFIX = struct.Struct("<8sII32s")
_OLDER = ("older", "read the text again and save its state with this runtime")
_UNKNOWN = "0" * 64


class StateSection(Frozen):
    """An array in the file: `offset` from its start, row-major bytes of `shape`."""

    name: str
    dtype: str
    shape: tuple[NonNegativeInt, ...]
    offset: NonNegativeInt
    nbytes: NonNegativeInt
    sha256: str = Field(default=_UNKNOWN, pattern=r"^[0-9a-f]{64}$")


class StateHeader(Frozen):
    """What the file holds: a sequence of `tokens` tokens and its state.

    `model` is the digest of the model, `family` its name for people; `kv` says how full pages are
    stored, "" as they are; `spans` are the ends
    of the spans of tokens with the attention path of each.
    """

    model: str = Field(pattern=r"^[0-9a-f]{64}$")
    family: str = Field(max_length=200)
    kv: str = Field(default="", max_length=100)
    tokens: PositiveInt
    spans: tuple[tuple[PositiveInt, str], ...]
    has_logits: bool
    sections: tuple[StateSection, ...] = Field(min_length=1)

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        last = self.sections[-1]
        return last.offset + last.nbytes

    def placed(self) -> "StateHeader":
        """The same with the offsets of the sections."""
        offset = _start(self)
        sections: list[StateSection] = []
        for section in self.sections:
            sections.append(section.model_copy(update={"offset": offset}))
            offset += align(section.nbytes)
        return self.model_copy(update={"sections": tuple(sections)})

    def blank(self) -> "StateHeader":
        """The same without checksums."""
        sections = tuple(s.model_copy(update={"sha256": _UNKNOWN}) for s in self.sections)
        return self.model_copy(update={"sections": sections})


class StateWriter:
    """Writes the sections of a header in order, from pieces, and keeps none of them in memory."""

    def __init__(self, file: BinaryIO, header: StateHeader) -> None:
        """Leave room for the header, whose checksums come last."""
        self._file = file
        self._header = header.placed()
        self._done: list[StateSection] = []

    def write(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Write the next section."""
        section = self._header.sections[len(self._done)]
        self._file.seek(section.offset)
        digest, count = hashlib.sha256(), 0
        for piece in pieces:
            self._file.write(piece)
            digest.update(piece)
            count += len(piece)
        assert count == section.nbytes, f"{section.name} has {count} bytes"
        self._done.append(section.model_copy(update={"sha256": digest.hexdigest()}))

    def finish(self) -> None:
        """Write the header, and make the file durable."""
        header = self._header.model_copy(update={"sections": tuple(self._done)})
        assert len(self._done) == len(self._header.sections), "sections are missing"
        self._file.truncate(header.size)
        text = canonical_json(header).ljust(_start(header) - _PREFIX.size)
        self._file.seek(0)
        self._file.write(_PREFIX.pack(MAGIC, VERSION, len(text), hashlib.sha256(text).digest()))
        self._file.write(text)
        self._file.flush()
        os.fsync(self._file.fileno())


@contextmanager
def replacing(path: Path, header: StateHeader) -> Iterator[StateWriter]:
    """A writer whose file takes the place of `path` when all went well, and is gone otherwise.

    StateFileError where `path` cannot be written or is something else than a state file.
    """
    place = check_state_output(path, header.placed().size)
    try:
        with staged_file(place, PRIVATE) as temporary:
            with temporary.open("r+b") as file:
                writer = StateWriter(file, header)
                yield writer
                writer.finish()
            put(temporary, place)
    except OSError as error:
        raise _OUTPUT.failed(path, error) from error


def check_state_output(path: Path, room: int = 0) -> Path:
    """The absolute path of a state file to be written; the file behind a symbolic link.

    StateFileError if `path` cannot be written, has no free space for `room` bytes, or is
    something else than a state file. Called before the work whose result the file will hold.
    """
    kind = special_kind(path.stat().st_mode) if stands(path) and path.exists() else None
    place = path if kind is not None else _OUTPUT.check(path, room)
    if kind is not None or (place.exists() and not _may_be_replaced(place)):
        raise StateFileError(
            "the output exists and is not a state file" + (f" but {kind}" if kind else ""),
            where=shown(path),
            expected="a new path or an earlier state file",
            fix="choose another path; a state is not written to a pipe",
        )
    return place


class StateReader:
    """An open state file whose header was checked."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        """Read the header; StateFileError for a file that is none, newer, cut or damaged."""
        self.path = path
        self._file = file
        self.header = _read_header(path, file)
        found = os.fstat(file.fileno()).st_size
        if found != self.header.size:
            what = "truncated" if found < self.header.size else "damaged"
            raise refused(
                path, f"the state file is {what}: {found} bytes", f"{self.header.size} bytes"
            )

    def section(self, name: str) -> "SectionReader":
        """Read a section from its start."""
        section = next(each for each in self.header.sections if each.name == name)
        self._file.seek(section.offset)
        return SectionReader(self.path, self._file, section)


class SectionReader:
    """Reads one section piece by piece; `close` compares its checksum."""

    def __init__(self, path: Path, file: BinaryIO, section: StateSection) -> None:
        self._path = path
        self._file = file
        self._section = section
        self._digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """The next `size` bytes."""
        data = self._file.read(size)
        if len(data) != size:
            raise refused(self._path, "the state file is truncated", "a whole file")
        self._digest.update(data)
        return data

    def close(self) -> None:
        """StateFileError unless what was read is the whole section as it was written."""
        if self._digest.hexdigest() != self._section.sha256:
            raise refused(
                self._path,
                f"the state file is damaged: the checksum of {self._section.name} does not match",
            )


@contextmanager
def opened(path: Path) -> Iterator[StateReader]:
    """The state file at `path`, open for reading; StateFileError if there is none."""
    with _INPUT.open(path) as file:
        yield StateReader(path, file)


def refused(path: Path, found: str, expected: str | None = None) -> StateFileError:
    """The error for a file that cannot be restored."""
    return StateFileError(found, where=str(path), expected=expected, fix="save the state again")


def _start(header: StateHeader) -> int:
    """Where the first section begins: room for the header with any offsets."""
    roomy = [s.model_copy(update={"offset": 10**18, "sha256": _UNKNOWN}) for s in header.sections]
    text = canonical_json(header.model_copy(update={"sections": tuple(roomy)}))
    return align(_PREFIX.size + len(text))


def _read_header(path: Path, file: BinaryIO) -> StateHeader:
    prefix = file.read(_PREFIX.size)
    if prefix[: len(MAGIC)] != MAGIC[: len(prefix)] or not prefix:
        raise refused(path, "this is no state file", "a file that save wrote")
    if len(prefix) < _PREFIX.size:
        raise refused(path, "the state file is truncated", "a whole file")
    _, version, length, digest = _PREFIX.unpack(prefix)
    if 1 <= version != VERSION:
        age, fix = ("newer", "update the runtime") if version > VERSION else _OLDER
        raise StateFileError(
            f"the state file has the {age} version {version}",
            where=str(path),
            expected=f"version {VERSION}, which this runtime writes and reads",
            fix=fix,
        )
    if version < 1 or length > MAX_HEADER:
        raise refused(path, "the state file is damaged: its header makes no sense")
    text = file.read(length)
    if len(text) < length:
        raise refused(path, "the state file is truncated", "a whole file")
    if hashlib.sha256(text).digest() != digest:
        raise refused(path, "the state file is damaged: the header's checksum does not match")
    try:
        return StateHeader.model_validate_json(text)
    except ValidationError as error:
        raise refused(path, "the state file is damaged: its header makes no sense") from error


def _may_be_replaced(place: Path) -> bool:
    """Whether this is a state file, or a file with nothing in it."""
    with _INPUT.open(place) as file:
        return file.read(len(MAGIC)) in (MAGIC, b"")
