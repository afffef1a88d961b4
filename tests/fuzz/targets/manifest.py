"""manifest.json, its digest put right."""

import json
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz import fixtures
from tests.fuzz.artifacts import MANIFEST, sealed
from tests.fuzz.case import Case
from tests.fuzz.strategies import document_edits
from tests.fuzz.target import Folder, Target, changes_of, read_files
from tests.fuzz.values import Draw

WORDS = (
    *("lib/cpu.so", "program.json", "weights-00001.safetensors", "cpu", "cpu:x86-64-v3", "avx512f"),
    *("cuda:sm_90", "golden.json", "seeded", "x86_64", "reference", "machine", "gptq", "digest"),
    *(
        "apache-tvm-ffi",
        "0.1.14.post1",
        "model",
        "vocabulary",
        "context",
        "chunk",
        "files",
        "minor",
    ),
)


class ManifestTarget(Target):
    """Loaded; an accepted one reads a prompt and decodes between guard pages."""

    name = "manifest"
    share = 10_000
    continuous = 100

    def prepare(self) -> None:
        """Import the runtime."""
        from tests.fuzz.steps import load_and_step

        self._step = load_and_step
        self._files = read_files(self.fixtures / fixtures.MODEL, MANIFEST)
        assert isinstance(json.loads(self._files[MANIFEST]), dict)

    def start(self, room: Path) -> None:
        """An artifact of its own."""
        super().start(room)
        self._folder = Folder(self.fixtures / fixtures.MODEL, room / "model.sala")

    def cases(self) -> st.SearchStrategy[Case]:
        """Edits, and how the model is loaded."""

        @st.composite
        def case(draw: Draw) -> Case:
            edits = draw(document_edits(MANIFEST, self._files[MANIFEST], WORDS))
            options = {
                "low": draw(st.booleans()),
                "context": draw(st.sampled_from((None, 256))),
                "sealed": draw(st.integers(0, 9)) > 0,
            }
            return Case("model", edits, options)

        return case()

    def lay(self, case: Case) -> int:
        """With the digest of what stands there."""
        text = (self._files | changes_of(self._files, case))[MANIFEST]
        if text is not None and case.options["sealed"]:
            text = sealed(text)
        return self._folder.lay({MANIFEST: text})

    def check(self, case: Case) -> None:
        """Load and run."""
        self._step(self._folder.path, low=case.options["low"], context=case.options["context"])
