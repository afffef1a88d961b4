"""Files of kept prefixes: a magic, a version, a hashed header, and pieces with a checksum each.

Layout: 8 bytes magic, uint32 version, uint32 header length, SHA-256 of the header, the header as
JSON, then the pieces one after the other. Integers are little-endian.
"""

import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError

from sala_compile.runtime.artifact.format_model import Frozen, canonical_json
from sala_compile.runtime.common.files import FileRule, shown
from sala_compile.runtime.errors import StateFileError

MAGIC = b"SALAKEPT"
VERSION = 1
MAX_HEADER = 8 << 20
PRIVATE = 0o600
"""The mode of the files: they hold what users wrote, as the model sees it."""
_PREFIX = struct.Struct("<8sII32s")
_UNKNOWN = "0" * 64
_NAME = r"^([0-9a-f]{32})?$"
_INPUT = FileRule(what="the kept prefix", error=StateFileError)


class UnreadableFile(StateFileError):
    """A file that the system does not let be read, whatever it holds."""


class KeptKind(StrEnum):
    """What a file holds, and how its name ends."""

    PAGES = "pages"
    STATE = "state"


class KeptHeader(Frozen):
    """Whose rows these are, of a prefix of `end` tokens; full pages hold the first `begin`.

    `identity` is the digest of the model and of the form of its rows. `key` is that of the tokens,
    of the attention path and of how they were computed (`history`, as in `TextHistory`), `text`
    without the latter, and `boundary` that of the whole pages. `parent` names the file of pages
    that this one continues, empty for none. `sizes` are bytes of the pieces.
    """

    kind: KeptKind
    identity: str = Field(pattern=r"^[0-9a-f]{64}$")
    key: str = Field(pattern=r"^[0-9a-f]{32}$")
    text: str = Field(default="", pattern=_NAME)
    boundary: str = Field(default="", pattern=_NAME)
    history: tuple[tuple[NonNegativeInt, bool], ...] = ()
    origin: str = Field(default="", pattern=_NAME)
    parent: str = Field(default="", pattern=_NAME)
    begin: NonNegativeInt
    end: PositiveInt
    sizes: tuple[PositiveInt, ...] = ()
    sha256: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """The name of the file, but for its kind."""
        whole = f"{self.identity} {self.key}"
        return hashlib.blake2b(whole.encode(), digest_size=16).hexdigest()

    @property
    def name(self) -> str:
        """The name of the file."""
        return f"{self.stem}.{self.kind}"

    @property
    def start(self) -> int:
        """Where the pieces begin."""
        return _PREFIX.size + len(canonical_json(self))

    @property
    def nbytes(self) -> int:
        """Bytes of the whole file."""
        return self.start + sum(self.sizes)

    @property
    def exact(self) -> bool:
        """Whether all tokens were read as one prompt is."""
        return not self.history and not self.origin

    def holding(self, sizes: Sequence[int]) -> "KeptHeader":
        """The same for pieces of these sizes, whose checksums are not known yet."""
        fields = {"sizes": tuple(sizes), "sha256": (_UNKNOWN,) * len(sizes)}
        return self.model_copy(update=fields)


class KeptFileWriter:
    """Writes the pieces of a header in order."""

    def __init__(self, file: BinaryIO, header: KeptHeader) -> None:
        """Leave room for the header, whose checksums come last."""
        self._file = file
        self._header = header
        self._sums: list[str] = []
        file.seek(header.start)

    def write(self, data: np.ndarray) -> None:
        """Write the next piece, uint8."""
        assert len(data) == self._header.sizes[len(self._sums)], "a piece of another size"
        self._file.write(data.data)
        self._sums.append(hashlib.sha256(data.data).hexdigest())

    def finish(self) -> None:
        """Write the header and make the file durable."""
        assert len(self._sums) == len(self._header.sizes), "pieces are missing"
        text = canonical_json(self._header.model_copy(update={"sha256": tuple(self._sums)}))
        self._file.seek(0)
        self._file.write(_PREFIX.pack(MAGIC, VERSION, len(text), hashlib.sha256(text).digest()))
        self._file.write(text)
        self._file.flush()
        os.fsync(self._file.fileno())


def read_kept_header(path: Path) -> KeptHeader:
    """The header of a file; StateFileError for one that is none, of another version, or damaged.

    UnreadableFile if the system refuses.
    """
    with _opened(path) as file:
        return header_in(path, file, os.fstat(file.fileno()).st_size)


def read_kept_pieces(path: Path, expected: KeptHeader) -> Iterator[np.ndarray]:
    """The pieces of a file, uint8, each checked against its checksum.

    StateFileError if the file is not the `expected` one, whatever its checksums, or is damaged;
    UnreadableFile if the system refuses.
    """
    with _opened(path) as file:
        header = header_in(path, file, os.fstat(file.fileno()).st_size)
        if not same_but_checksums(header, expected):
            raise damaged(path, "is another one than that of its name")
        yield from pieces_in(path, file, header)


def pieces_in(path: Path | str, file: BinaryIO, header: KeptHeader) -> Iterator[np.ndarray]:
    """The pieces that follow a header in a file, as `read_kept_pieces` gives them."""
    for size, checksum in zip(header.sizes, header.sha256, strict=True):
        data = np.frombuffer(_read(path, file, size), np.uint8)
        if len(data) != size or hashlib.sha256(data.data).hexdigest() != checksum:
            raise damaged(path, "is damaged: a checksum does not match")
        yield data


def same_but_checksums(one: KeptHeader, other: KeptHeader) -> bool:
    """Whether two headers are of the same rows, which one of them may not know yet."""
    return one.model_copy(update={"sha256": other.sha256}) == other


def damaged(path: Path | str, found: str, expected: str | None = None) -> StateFileError:
    """The error for a file of which `found` ("is truncated") is true."""
    return StateFileError(
        f"the kept prefix {found}",
        where=shown(path),
        expected=expected or "a whole file that this server wrote",
        fix="nothing: it is removed, and the text is read again",
    )


def _opened(path: Path) -> BinaryIO:
    try:
        return _INPUT.open(path)
    except (StateFileError, OSError) as problem:
        found = getattr(problem, "found", None) or f"the kept prefix cannot be read: {problem}"
        raise UnreadableFile(found, shown(path)) from None


def _read(path: Path | str, file: BinaryIO, size: int) -> bytes:
    try:
        return file.read(size)
    except OSError as problem:
        found = f"the kept prefix cannot be read: {problem.strerror}"
        raise UnreadableFile(found, shown(path)) from None


def header_in(path: Path | str, file: BinaryIO, found: int) -> KeptHeader:
    """The header at the beginning of a file of `found` bytes, as `read_kept_header` gives it."""
    prefix = _read(path, file, _PREFIX.size)
    if len(prefix) < _PREFIX.size or prefix[: len(MAGIC)] != MAGIC:
        raise damaged(path, "is none, or truncated")
    _, version, length, digest = _PREFIX.unpack(prefix)
    if version != VERSION:
        raise damaged(path, f"has version {version}", f"version {VERSION}")
    text = _read(path, file, length) if length <= MAX_HEADER else b""
    if len(text) < length or hashlib.sha256(text).digest() != digest:
        raise damaged(path, "is damaged: its header's checksum does not match")
    try:
        header = KeptHeader.model_validate_json(text)
    except ValidationError:
        raise damaged(path, "is damaged: its header makes no sense") from None
    sane = len(header.sizes) == len(header.sha256) and header.begin <= header.end
    if not sane or header.start != _PREFIX.size + length:
        raise damaged(path, "is damaged: its header makes no sense")
    if found != header.nbytes:
        raise damaged(path, f"has {found} bytes", f"{header.nbytes} bytes")
    return header
