"""program.json, the hashes put right."""

import json
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz import fixtures
from tests.fuzz.artifacts import MANIFEST, mended
from tests.fuzz.case import Case
from tests.fuzz.program_edits import program_edit
from tests.fuzz.strategies import document_edits
from tests.fuzz.target import Folder, Target, changes_of, read_files
from tests.fuzz.values import Draw

PROGRAM = "program.json"


class ProgramTarget(Target):
    """Loaded; an accepted one reads a prompt and decodes between guard pages."""

    name = "program"
    share = 12_000
    continuous = 100

    def prepare(self) -> None:
        """Names of values and kernels, which edits put in the places of others."""
        from tests.fuzz.steps import load_and_step

        self._step = load_and_step
        files = read_files(self.fixtures / fixtures.MODEL, PROGRAM, MANIFEST)
        self._manifest = json.loads(files[MANIFEST])
        self._files = {PROGRAM: files[PROGRAM]}
        self._program = program = json.loads(files[PROGRAM])
        phases = program["targets"]["cpu"]["phases"]
        kernels = {step["kernel"] for phase in phases.values() for step in phase["steps"]}
        symbols = ("tokens", "slots", "kv_pages", "compressed_pages", "workers", "sequence_pages")
        kinds = ("pool", "activation", "workspace", "weight", "input", "int32", "uint16", "float32")
        self._words = (*program["values"], *sorted(kernels), *symbols, *kinds, "prefill", "sample")

    def start(self, room: Path) -> None:
        """An artifact of its own."""
        super().start(room)
        self._folder = Folder(self.fixtures / fixtures.MODEL, room / "model.sala")

    def cases(self) -> st.SearchStrategy[Case]:
        """Edits, and how the model is loaded."""

        @st.composite
        def case(draw: Draw) -> Case:
            if draw(st.integers(0, 2)):
                count = draw(st.sampled_from((1, 1, 2, 3)))
                edits = tuple(draw(program_edit(PROGRAM, self._program)) for _ in range(count))
            else:
                edits = draw(document_edits(PROGRAM, self._files[PROGRAM], self._words))
            options = {
                "low": draw(st.booleans()),
                "context": draw(st.sampled_from((None, 256))),
            }
            return Case("model", edits, options)

        return case()

    def lay(self, case: Case) -> int:
        """With a manifest that knows the program's hash."""
        changes = self._files | changes_of(self._files, case)
        data = changes[PROGRAM] or b""
        return self._folder.lay(mended(changes, self._manifest)) + len(data)

    def check(self, case: Case) -> None:
        """Load and run."""
        self._step(self._folder.path, low=case.options["low"], context=case.options["context"])
