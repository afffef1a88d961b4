"""Files of a prefix directory and records of named states, the checksums put right."""

import hashlib
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from sala_compile.runtime.artifact.format_model import canonical_document
from sala_compile.runtime.errors import SalaError
from sala_compile.runtime.serving.kept.kept_file import (
    MAGIC,
    VERSION,
    KeptKind,
    read_kept_pieces,
)
from sala_compile.runtime.serving.kept.kept_folder import LOCK, KeptFolder
from sala_compile.runtime.serving.kept.named_state import (
    NamedState,
    encoded_ids,
    read_record,
    write_record,
)
from tests.fuzz.case import Case
from tests.fuzz.edits import apply
from tests.fuzz.strategies import byte_edit, document_edits
from tests.fuzz.target import Target, Wrong
from tests.fuzz.values import Draw
from tests.support.kept_files import IDENTITY, digest, header, write_kept

HEADER, RAW, RECORD = "header.json", "file", "record"
PREFIX = struct.Struct("<8sII32s")
WORDS = (*KeptKind, "", IDENTITY, "0" * 32, "history", "sizes", "parent")
TREE = (
    *(("pages", "a", 0, 64), ("pages", "ab", 64, 128, "a"), ("state", "a", 64, 64, "a")),
    *(("state", "ab", 128, 128, "ab"), ("state", "ab+", 128, 130, "ab")),
)


class KeptTarget(Target):
    """What a directory holds after one file of it was damaged is found, read and removed."""

    name = "kept"
    share = 2_000
    continuous = 60

    def prepare(self) -> None:
        """Nothing: the valid files are made by hand."""

    def start(self, room: Path) -> None:
        """Write the valid files."""
        super().start(room)
        self._source, self._folder = room / "source", room / "prefixes"
        self._record = room / "record.json"
        self._source.mkdir()
        self._paths = [write_kept(self._source, header(*each)) for each in TREE]
        ids = np.arange(9, dtype=np.int32)
        state = NamedState(id="a", model=IDENTITY, created=1, prompt="x", tokens=encoded_ids(ids))
        self._state = canonical_document(state.model_dump(mode="json"))
        write_record(self._record, state)

    def cases(self) -> st.SearchStrategy[Case]:
        """Edits of a header, of a whole file, or of a record."""
        text = canonical_document(header(*TREE[0]).model_dump(mode="json"))
        record = canonical_document({"id": "a", "model": IDENTITY, "created": 1, "tokens": "AAAA"})

        @st.composite
        def case(draw: Draw) -> Case:
            number = draw(st.integers(0, len(TREE) - 1))
            kind = draw(st.sampled_from((HEADER, HEADER, HEADER, RAW, RECORD)))
            options = {"number": number}
            if kind == RAW:
                return Case(RAW, (draw(byte_edit(RAW, 1200)),), options)
            document = text if kind == HEADER else record
            return Case(kind, draw(document_edits(kind, document, WORDS, most=3)), options)

        return case()

    def lay(self, case: Case) -> int:
        """A fresh directory with one file changed, or a changed record."""
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(self._source, self._folder)
        path = self._folder / self._paths[case.options["number"] % len(TREE)].name
        whole = path.read_bytes()
        if case.base == RECORD:
            data = apply({RECORD: self._state}, case.edits)[RECORD] if case.edits else self._state
            self._record.write_bytes(_summed(data or b""))
            return self._record.stat().st_size
        if case.base == RAW:
            data = apply({RAW: whole}, case.edits)[RAW] if case.edits else whole
        else:
            data = _changed(whole, case)
        path.write_bytes(data or b"")
        return len(data or b"")

    def check(self, case: Case) -> None:
        """Open the directory, read what is there, and have all of it removed."""
        if case.base == RECORD:
            state = read_record(self._record)
            state.require_beginning(np.append(state.ids, 1).astype(np.int32))
            return
        folder = KeptFolder(self._folder, 1 << 20, IDENTITY)
        try:
            error = self._read(folder)
            folder.limit = 0
            folder.make_room(0)
            left = {path.name for path in self._folder.iterdir()} - {LOCK}
            if left or folder.info()["files"] or folder.info()["bytes"]:
                raise Wrong(f"{left} and {folder.info()} are left")
        finally:
            folder.close()
        if error is not None:
            raise error

    def _read(self, folder: KeptFolder) -> SalaError | None:
        """Read every piece of every state that is found; the error of one that is damaged."""
        sizes = [p.stat().st_size for p in self._folder.iterdir() if p.name != LOCK]
        if sum(sizes) != folder.info()["bytes"]:
            raise Wrong(f"{sum(sizes)} bytes are there: {folder.info()}")
        for text in ("a", "ab", "ab+"):
            state = folder.of_text(digest(text), exact=False)
            if state is None:
                continue
            folder.let_go(state)
            for each in (*(pages.header for pages in state.ancestry()), state.header):
                try:
                    for piece in read_kept_pieces(folder.path(each), each):
                        piece.sum()
                except SalaError as error:
                    return error
        return None


def _changed(whole: bytes, case: Case) -> bytes:
    """The file with edits of its header, which fits its checksum and its place."""
    _, _, length, _ = PREFIX.unpack(whole[: PREFIX.size])
    text, rest = whole[PREFIX.size : PREFIX.size + length], whole[PREFIX.size + length :]
    text = apply({HEADER: text}, case.edits)[HEADER] or b"" if case.edits else text
    try:
        text = canonical_document(json.loads(text))
    except (ValueError, RecursionError):
        return _assembled(text, rest)
    return _assembled(text, rest)


def _assembled(text: bytes, rest: bytes) -> bytes:
    return PREFIX.pack(MAGIC, VERSION, len(text), hashlib.sha256(text).digest()) + text + rest


def _summed(data: bytes) -> bytes:
    """A record whose checksum fits."""
    try:
        body: Any = json.loads(data)
        checksum = hashlib.sha256(canonical_document(body)).hexdigest()
        return json.dumps({"sha256": checksum, "state": body}).encode()
    except (ValueError, RecursionError):
        return data
