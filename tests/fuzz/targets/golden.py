"""golden.json, the hashes put right: the vectors of kernels and of the model."""

import json
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz import fixtures
from tests.fuzz.artifacts import MANIFEST, mended
from tests.fuzz.case import Case
from tests.fuzz.strategies import document_edits
from tests.fuzz.target import Folder, Target, changes_of, read_files
from tests.fuzz.values import Draw

GOLDEN = "golden.json"


class GoldenTarget(Target):
    """`sala-inspect --verify` over some vectors, their operands between guard pages."""

    name = "golden"
    share = 7_000
    continuous = 80

    def prepare(self) -> None:
        """Names of kernels and tensors, which edits put in the places of others."""
        from sala_compile.runtime.verify import verify_artifact
        from tests.fuzz.guard import guarded

        self._verify, self._guarded = verify_artifact, guarded
        files = read_files(self.fixtures / fixtures.MODEL, GOLDEN, MANIFEST)
        self._manifest = json.loads(files[MANIFEST])
        self._document = json.loads(files[GOLDEN])
        kernels = [vector["kernel"] for vector in self._document["kernels"]]
        tensors = [
            a["tensor"] for v in self._document["kernels"] for a in v["arguments"] if "tensor" in a
        ]
        kinds = ("tensor", "weight", "random", "literal", "control", "scratch", "output")
        types = ("float32", "bfloat16", "int32", "int64", "uint32", "uint16", "uint8", "int8")
        self._words = (*kernels, *tensors, *kinds, *types)

    def start(self, room: Path) -> None:
        """An artifact of its own."""
        super().start(room)
        self._folder = Folder(self.fixtures / fixtures.MODEL, room / "model.sala")

    def cases(self) -> st.SearchStrategy[Case]:
        """One or two vectors with edits."""

        @st.composite
        def case(draw: Draw) -> Case:
            count = len(self._document["kernels"])
            chosen = sorted({draw(st.integers(0, count - 1)) for _ in range(2)})
            options = {
                "kernels": chosen,
                "models": draw(st.integers(0, 3)) == 0,
                "low": draw(st.booleans()),
            }
            edits = draw(document_edits(GOLDEN, self._base(options), self._words))
            return Case("model", edits, options)

        return case()

    def lay(self, case: Case) -> int:
        """With a manifest that knows the hash."""
        changes = changes_of({GOLDEN: self._base(case.options)}, case)
        return self._folder.lay(mended(changes, self._manifest))

    def check(self, case: Case) -> None:
        """Verify; a vector that does not hold is a result, no failure."""
        with self._guarded(low=case.options["low"]):
            self._verify(self._folder.path, threads=1)

    def _base(self, options) -> bytes:
        kernels = [self._document["kernels"][index] for index in options["kernels"]]
        models = self._document["models"] if options["models"] else []
        return json.dumps({"kernels": kernels, "models": models}).encode()
