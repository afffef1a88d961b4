"""The weight files and golden tensors of an artifact, the hashes put right."""

import json
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz import fixtures
from tests.fuzz.artifacts import MANIFEST, mended
from tests.fuzz.case import Case, Edit
from tests.fuzz.strategies import byte_edit, document_edits
from tests.fuzz.target import Folder, Target, changes_of, read_files
from tests.fuzz.values import Draw

WEIGHTS, GOLDEN, HEADER = "weights-00001.safetensors", "golden.safetensors", "header.json"
WORDS = ("F64", "F32", "F16", "BF16", "I64", "U8", "I8", "BOOL", "__metadata__", "dtype", "shape")


class StoredTarget(Target):
    """Headers and data; an accepted artifact runs between guard pages, and all tensors are read."""

    name = "stored"
    share = 9_000
    continuous = 150

    def prepare(self) -> None:
        """Read both files."""
        from sala_compile.runtime.artifact import MappedTensors
        from sala_compile.runtime.artifact.opened import OpenFile
        from tests.fuzz.steps import load_and_step

        self._step, self._mapped, self._opened = load_and_step, MappedTensors, OpenFile.at
        files = read_files(self.fixtures / fixtures.MODEL, WEIGHTS, GOLDEN, MANIFEST)
        self._manifest = json.loads(files.pop(MANIFEST))
        self._files = files

    def start(self, room: Path) -> None:
        """An artifact of its own."""
        super().start(room)
        self._folder = Folder(self.fixtures / fixtures.MODEL, room / "model.sala")

    def cases(self) -> st.SearchStrategy[Case]:
        """Edits of a header, of its bytes, and values that are no numbers."""

        @st.composite
        def case(draw: Draw) -> Case:
            name = draw(st.sampled_from((WEIGHTS, WEIGHTS, GOLDEN)))
            data = self._files[name]
            start = 8 + int.from_bytes(data[:8], "little")
            options = {
                "file": name,
                "low": draw(st.booleans()),
                "length": draw(st.integers(0, 9)) > 0,
            }
            kind = draw(st.sampled_from(("header", "header", "bytes", "values", "tensor")))
            if kind == "tensor":
                return Case("model", (draw(_tensor_edit(name, data)),), options)
            if kind == "bytes":
                return Case("model", (draw(byte_edit(name, min(len(data), 2000))),), options)
            if kind == "values":
                return Case("model", (draw(byte_edit(name, len(data), start)),), options)
            edits = draw(document_edits(HEADER, data[8:start], WORDS, most=3))
            return Case("model", edits, options)

        return case()

    def lay(self, case: Case) -> int:
        """With a manifest that knows the hashes."""
        name = case.options["file"]
        data = self._files[name]
        changes = changes_of({**self._files, HEADER: data[8:][: _length(data)]}, case)
        if HEADER in changes:
            header = changes.pop(HEADER) or b""
            length = len(header) if case.options["length"] else _length(data)
            changes[name] = length.to_bytes(8, "little") + header + data[8 + _length(data) :]
        return self._folder.lay(mended(changes, self._manifest))

    def check(self, case: Case) -> None:
        """Load and run, and read what was damaged."""
        path, name = self._folder.path, case.options["file"]
        tensors = self._mapped(self._opened(path / name))
        for tensor in tensors.stored:
            tensors.array(tensor).tobytes()
        self._step(path, low=case.options["low"], context=256)


@st.composite
def _tensor_edit(draw: Draw, name: str, data: bytes) -> Edit:
    """All elements of a tensor become one that is no number, or another odd one."""
    start = 8 + _length(data)
    entries = json.loads(data[8:start])
    spans = [entry["data_offsets"] for tensor, entry in sorted(entries.items())]
    begin, end = draw(st.sampled_from(spans))
    fill = draw(st.sampled_from((0xFF, 0x7F, 0x80, 0xFE, 0x00)))
    return Edit(name, "fill", (start + begin, start + end), fill)


def _length(data: bytes) -> int:
    return int.from_bytes(data[:8], "little")
