"""golden.json, the hashes put right: the sequences of a step and the vectors of its kernels."""

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
    """`sala-inspect --verify` over some vectors, all buffers between guard pages."""

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
        vectors = self._document["kernels"]
        named = [v[part] for v in vectors for part in ("given", "expected", "states")]
        values = [name for names in named for name in names]
        tensors = [name for vector in vectors for name in vector["given"].values()]
        kernels = [vector["kernel"] for vector in vectors]
        self._words = (*kernels, *values, *tensors, "prefill", "decode", "logits", "sample", "cpu")

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
            options = {"kernels": chosen, "low": draw(st.booleans())}
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
        return json.dumps(self._document | {"kernels": kernels}).encode()
