"""ONNX models: their graphs as documents, and bytes of their files."""

import shutil
from contextlib import ExitStack
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz import fixtures
from tests.fuzz.case import Case
from tests.fuzz.onnx_files import MODEL, document, file_of
from tests.fuzz.strategies import byte_edit, document_edits
from tests.fuzz.target import Target, changes_of
from tests.fuzz.values import Draw

DOCUMENT = "model.json"
WORDS = (
    *("MatMul", "Gemm", "MatMulNBits", "Gather", "GatherBlockQuantized", "GroupQueryAttention"),
    *("Identity", "Cast", "Reshape", "Transpose", "Constant", "Add", "Mul", "Split", "Concat"),
    *("com.microsoft", "sala", "input_ids", "attention_mask", "position_ids", "logits"),
    *("sala-compile", "sala.config", "sala.integers", "EXTERNAL", "DEFAULT", "location", "offset"),
    *("../model.onnx", "cos_cache", "lm_head.MatMul.weight", "model.embed_tokens.weight"),
    *(4, 8, 16, 32, 96, 320),
)


class OnnxTarget(Target):
    """A model is opened as the compiler does, and all of its weights are read."""

    name = "onnx"
    share = 3_000
    continuous = 50

    def prepare(self) -> None:
        """Open one of each kind."""
        from sala_compile.codegen.opening import open_source
        from sala_compile.codegen.options import CompileOptions

        self._open, self._options = open_source, CompileOptions
        folder = self.fixtures / fixtures.ONNX
        self._bases = {path.name: document(path / MODEL) for path in sorted(folder.iterdir())}
        for name in ("integers", "genai-integers"):
            self._read(folder / name / MODEL)

    def start(self, room: Path) -> None:
        """Every model with its weights."""
        super().start(room)
        for name in self._bases:
            shutil.copytree(self.fixtures / fixtures.ONNX / name, room / name)

    def cases(self) -> st.SearchStrategy[Case]:
        """Edits of a graph, or of bytes of the file."""

        @st.composite
        def case(draw: Draw) -> Case:
            base = draw(st.sampled_from(sorted(self._bases)))
            if draw(st.integers(0, 3)):
                return Case(base, draw(document_edits(DOCUMENT, self._bases[base], WORDS)))
            end = len(file_of(self._bases[base]))
            count = draw(st.integers(1, 3))
            return Case(base, tuple(draw(byte_edit(MODEL, end)) for _ in range(count)))

        return case()

    def lay(self, case: Case) -> int:
        """The model of the edited document, or with edited bytes."""
        text = self._bases[case.base]
        changed = changes_of({DOCUMENT: text, MODEL: file_of(text)}, case)
        whole = changed.get(MODEL)
        if whole is None:
            whole = file_of(changed.get(DOCUMENT) or text)
        (self.room / case.base / MODEL).write_bytes(whole)
        return len(whole)

    def check(self, case: Case) -> None:
        """Open it and read every tensor."""
        self._read(self.room / case.base / MODEL)

    def _read(self, path: Path) -> None:
        with ExitStack() as stack:
            options = self._options(checkpoint=path, output=None, dry_run=True)
            source = self._open(options, stack)
            assert source.checkpoint is not None
            for name in source.tensors:
                source.checkpoint.read(name)
