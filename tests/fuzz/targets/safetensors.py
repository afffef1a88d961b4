"""The safetensors files of a checkpoint and the index of its shards."""

import json
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz import fixtures
from tests.fuzz.case import Case
from tests.fuzz.strategies import byte_edit, document_edits
from tests.fuzz.target import Folder, Target, changes_of, read_files
from tests.fuzz.values import Draw

WORDS = ("F64", "F8_E4M3", "BOOL", "I64", "U8", "BF16", "F16", "__metadata__", "dtype", "shape")
WEIGHTS, INDEX, HEADER = "model.safetensors", "model.safetensors.index.json", "header.json"


class SafetensorsTarget(Target):
    """Headers as JSON (their length is put right, or not) and files as bytes; all data is read."""

    name = "safetensors"
    share = 10_000
    continuous = 400

    def prepare(self) -> None:
        """Read the files of a whole checkpoint, and of one in two shards."""
        from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
        from sala_compile.sala_ir.frontends import frontend_for

        self._checkpoint, self._frontend = Checkpoint, frontend_for
        self._bases = {
            name: read_files(self.fixtures / name)
            for name in (fixtures.CHECKPOINT, fixtures.SHARDED)
        }

    def start(self, room: Path) -> None:
        """Both checkpoints."""
        super().start(room)
        self._folders = {n: Folder(self.fixtures / n, room / n) for n in self._bases}

    def cases(self) -> st.SearchStrategy[Case]:
        """Edits of a header or of the index, and of bytes wherever they lie."""

        @st.composite
        def case(draw: Draw) -> Case:
            base = draw(st.sampled_from(sorted(self._bases)))
            files = self._bases[base]
            name = draw(st.sampled_from(sorted(n for n in files if n != "config.json")))
            options = {"file": name, "length": draw(st.integers(0, 9)) > 0}
            if name.endswith(".json"):
                return Case(base, draw(document_edits(name, files[name], WORDS)), options)
            if draw(st.integers(0, 3)) == 0:
                end = len(files[name]) if draw(st.booleans()) else 400
                return Case(base, (draw(byte_edit(name, end)),), options)
            header, _ = _split(files[name])
            edits = draw(document_edits(HEADER, header, WORDS, most=3))
            return Case(base, edits, options)

        return case()

    def lay(self, case: Case) -> int:
        """The edited header in front of the data that was behind it."""
        files, name = self._bases[case.base], case.options["file"]
        if not any(edit.file == HEADER for edit in case.edits):
            return self._folders[case.base].lay(changes_of(files, case))
        header, data = _split(files[name])
        edited = changes_of({HEADER: header}, case)[HEADER] or b""
        length = len(edited) if case.options["length"] else len(header)
        return self._folders[case.base].lay({name: length.to_bytes(8, "little") + edited + data})

    def check(self, case: Case) -> None:
        """Open, compare with what the config expects, read everything."""
        with self._checkpoint.open(self._folders[case.base].path) as checkpoint:
            frontend = self._frontend(checkpoint.config)
            config = frontend.parse_config(checkpoint.config)
            for name in checkpoint.tensors:
                checkpoint.read(name)
            checkpoint.check(frontend.expected_tensors(config))
            checkpoint.digest()


def _split(data: bytes) -> tuple[bytes, bytes]:
    """The header of a file, and its data."""
    end = 8 + int.from_bytes(data[:8], "little")
    assert isinstance(json.loads(data[8:end]), dict)
    return data[8:end], data[end:]
