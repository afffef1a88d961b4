"""State files, the checksums put right."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from sala_compile.runtime.state.state_file import MAGIC, VERSION
from tests.fuzz import fixtures
from tests.fuzz.case import Case, Edit
from tests.fuzz.edits import apply
from tests.fuzz.strategies import byte_edit, document_edits
from tests.fuzz.target import Target, Wrong, read_files
from tests.fuzz.values import Draw

HEADER, RAW = "header.json", "file"
PREFIX = struct.Struct("<8sII32s")
WORDS = ("dense", "sparse", "float32", "int32", "token_ids", "last_logits", "spans", "sections")
FILLS = (0xFF, 0x7F, 0x80, 0x00, 0xFE)
"""NaN with all bits set, large numbers, negative zeros, zeros, huge negative numbers."""


class StateTarget(Target):
    """Restored; an accepted state decodes twice, over arenas of different remains, to equal bits.

    Sections are files of a case by their names: their data is damaged apart from the header.
    """

    name = "state"
    share = 10_000
    continuous = 300

    def prepare(self) -> None:
        """Take the files apart."""
        import sala_compile
        from tests.fuzz.guard import guarded

        self._runtime, self._guarded = sala_compile, guarded
        found = read_files(self.fixtures / fixtures.STATES)
        self._bases = {name.split(".")[0]: _parts(data) for name, data in found.items()}
        self._raw = {name.split(".")[0]: data for name, data in found.items()}

    def start(self, room: Path) -> None:
        """Load the model twice: buffers that end and buffers that begin at a guard page."""
        super().start(room)
        self._file = room / "damaged.sala-state"
        self._models: list[Any] = []
        for low in (False, True):
            with self._guarded(low=low) as made:
                model = self._runtime.load(
                    self.fixtures / fixtures.MODEL,
                    context=512,
                    threads=1,
                    memory="64MiB",
                    poison=True,
                )
                self._models.append((model, made[0]))

    def cases(self) -> st.SearchStrategy[Case]:
        """Edits of the header, of the data of sections, or of the bytes of the whole file."""

        @st.composite
        def case(draw: Draw) -> Case:
            base = draw(st.sampled_from(sorted(self._bases)))
            parts = self._bases[base]
            kind = draw(st.sampled_from(("header",) * 4 + ("data",) * 5 + ("raw",)))
            options = {"low": draw(st.booleans()), "length": draw(st.integers(0, 14)) > 0}
            edits: tuple[Edit, ...] = ()
            if kind == "raw":
                edits = (draw(byte_edit(RAW, len(self._raw[base]))),)
            elif kind == "header":
                edits = draw(document_edits(HEADER, parts[HEADER], WORDS, most=3))
            while kind == "data":
                edits += draw(section_edits(parts))
                if draw(st.booleans()):
                    break
            return Case(base, edits, options)

        return case()

    def lay(self, case: Case) -> int:
        """Put the file together again."""
        if case.edits and case.edits[0].file == RAW:
            data = apply({RAW: self._raw[case.base]}, case.edits)[RAW] or b""
        else:
            parts = self._bases[case.base]
            pad = case.options["length"] or not case.edits
            data = _assembled(parts | apply(parts, case.edits), pad)
        self._file.write_bytes(data)
        return len(data)

    def check(self, case: Case) -> None:
        """Restore and decode, twice."""
        model, memory = self._models[case.options["low"]]
        found = [self._decoded(model, memory, byte) for byte in (0xFF, 0x01)]
        memory.check()
        if not np.array_equal(found[0], found[1], equal_nan=True):
            raise Wrong("a restored state gives other logits each time")

    def _decoded(self, model: Any, memory: Any, byte: int) -> np.ndarray:
        type(memory).poison_byte = byte
        memory.poison_arena()
        with model.restore(self._file) as sequence:
            last = np.array(sequence.last_logits) if sequence.last_logits is not None else 0
            first = np.array(model.decode([sequence], [5]))
            read = np.array(sequence.append([1, 2, 3]))
            return np.concatenate([np.ravel(last), np.ravel(first), np.ravel(read)])


@st.composite
def section_edits(draw: Draw, parts: dict[str, bytes]) -> tuple[Edit, ...]:
    """Damage the data of a section: some numbers, or most of them."""
    name = draw(st.sampled_from(sorted(set(parts) - {HEADER})))
    size = len(parts[name])
    if draw(st.booleans()):
        begin = 4 * draw(st.integers(0, max(0, size // 4 - 1)))
        end = min(size, begin + 4 * draw(st.sampled_from((1, 1, 4, 64, 10**6))))
        return (Edit(name, "fill", (begin, end), draw(st.sampled_from(FILLS))),)
    found = draw(byte_edit(name, size))
    if found.action == "splice" and len(found.value) != int(found.at[1]) - int(found.at[0]):
        value = (found.value * 8)[: int(found.at[1]) - int(found.at[0])]
        return (Edit(name, "splice", (found.at[0], int(found.at[0]) + len(value)), value),)
    return (found,)


def _parts(data: bytes) -> dict[str, bytes]:
    """The header without checksums, and the data of every section."""
    _, _, length, _ = PREFIX.unpack(data[: PREFIX.size])
    text = data[PREFIX.size : PREFIX.size + length]
    parts = {HEADER: text.rstrip()}
    for section in json.loads(text)["sections"]:
        begin = section["offset"]
        parts[section["name"]] = data[begin : begin + section["nbytes"]]
    return parts


def _assembled(parts: dict[str, bytes | None], pad: bool) -> bytes:
    """A file with right checksums as far as its header makes sense."""
    text = parts[HEADER] or b""
    room = -(-(PREFIX.size + len(text) + 200) // 64) * 64 - PREFIX.size
    body = b""
    try:
        header = json.loads(text)
        position = min(section["offset"] for section in header["sections"])
        room = position - PREFIX.size if PREFIX.size < position < 1 << 20 else room
        for section in header["sections"]:
            data = parts.get(section["name"]) or bytes(min(int(section["nbytes"]), 1 << 20))
            section["sha256"] = hashlib.sha256(data).hexdigest()
            gap = section["offset"] - position - len(body)
            body += bytes(gap if 0 <= gap < 1 << 20 else 0) + data
        if b"NaN" not in text:
            text = json.dumps(header, sort_keys=True).encode()
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        body = b"".join(data for name, data in parts.items() if name != HEADER and data)
    text = text.ljust(room) if pad else text
    return PREFIX.pack(MAGIC, VERSION, len(text), hashlib.sha256(text).digest()) + text + body
