"""Tuning files: what the runtime takes with its library, and the compiler as schedules."""

import json
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz import fixtures
from tests.fuzz.case import Case
from tests.fuzz.strategies import document_edits
from tests.fuzz.target import Folder, Target, changes_of, read_files
from tests.fuzz.values import Draw

FILE = fixtures.TUNING


class TuningTarget(Target):
    """Loaded with the model, which then runs between guard pages, or read by the compiler."""

    name = "tuning"
    share = 3_000
    continuous = 80

    def prepare(self) -> None:
        """Plan once."""
        from tests.fuzz.planning import plan_config
        from tests.fuzz.steps import load_and_step

        self._step, self._plan = load_and_step, plan_config
        self._files = read_files(self.fixtures, FILE)
        kernels = json.loads(self._files[FILE])["kernels"]
        families = {kernel["family"] for kernel in kernels.values()}
        self._words = (*kernels, *families, "cpu", "float32", "uint16", "workers", "tokens")
        plan_config(self.fixtures / fixtures.CHECKPOINT, tuning=self.fixtures / FILE)

    def start(self, room: Path) -> None:
        """A tuning with its library."""
        super().start(room)
        library = Path(FILE).with_suffix(".so")
        source = room / "source"
        source.mkdir()
        for name in (FILE, library.name):
            (source / name).write_bytes((self.fixtures / name).read_bytes())
        self._folder = Folder(source, room / "tuning")

    def cases(self) -> st.SearchStrategy[Case]:
        """Edits, and who reads the file."""

        @st.composite
        def case(draw: Draw) -> Case:
            edits = draw(document_edits(FILE, self._files[FILE], self._words))
            reader = draw(st.sampled_from(("runtime", "runtime", "compiler")))
            return Case("tuning", edits, {"reader": reader, "low": draw(st.booleans())})

        return case()

    def lay(self, case: Case) -> int:
        """Nothing has to be put right: the file has no hash."""
        return self._folder.lay(changes_of(self._files, case))

    def check(self, case: Case) -> None:
        """Load and run, or plan."""
        path = self._folder.path / FILE
        if case.options["reader"] == "compiler":
            from sala_compile.passes.assign_precision import Precision

            self._plan(self.fixtures / fixtures.CHECKPOINT, tuning=path, dtype=Precision.FLOAT32)
            return
        model = self.fixtures / fixtures.MODEL
        self._step(model, low=case.options["low"], context=256, tuning=path)
