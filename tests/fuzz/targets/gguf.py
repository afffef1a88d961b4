"""GGUF files: their headers as documents, and bytes of header and blocks."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from tests.fuzz import fixtures
from tests.fuzz.case import Case
from tests.fuzz.gguf_files import document, file_of, type_numbers
from tests.fuzz.strategies import byte_edit, document_edits
from tests.fuzz.target import Target, Wrong, changes_of
from tests.fuzz.values import Draw

HEADER, WHOLE = "header.json", "model.gguf"
WORDS = (
    *("llama", "qwen2", "qwen3", "minicpm", "gemma3", "gpt2", "bert", "smollm", "llama-bpe"),
    *("general.alignment", "split.count", "tokenizer.ggml.merges", "tokenizer.ggml.scores"),
    *("llama.rope.scaling.type", "yarn", "linear", "llama.rope.dimension_count", "<0x0A>"),
    *("llama.attention.sliding_window", "llama.expert_count", "rope_freqs.weight", "output.weight"),
    *type_numbers(),
)


class GgufTarget(Target):
    """A file is opened as a model, and all that it holds is read.

    What is accepted gives the values of the package gguf: a second reader of the same bytes.
    """

    name = "gguf"
    share = 5_000
    continuous = 60

    def prepare(self) -> None:
        """Open one."""
        from sala_compile.codegen.opening import open_source
        from sala_compile.codegen.options import CompileOptions

        self._open, self._options = open_source, CompileOptions
        folder = self.fixtures / fixtures.GGUFS
        self._bases = {path.stem: document(path) for path in sorted(folder.glob("*.gguf"))}
        self._read(folder / "llama.gguf")

    def start(self, room: Path) -> None:
        """A directory for the file."""
        super().start(room)
        room.mkdir(parents=True, exist_ok=True)

    def cases(self) -> st.SearchStrategy[Case]:
        """Edits of a header, or of bytes wherever they lie."""

        @st.composite
        def case(draw: Draw) -> Case:
            base = draw(st.sampled_from(sorted(self._bases)))
            header, data = self._bases[base]
            if draw(st.integers(0, 2)):
                return Case(base, draw(document_edits(HEADER, header, WORDS)))
            whole = len(file_of(header, data))
            end = draw(st.sampled_from((64, whole - len(data), whole)))
            count = draw(st.integers(1, 3))
            return Case(base, tuple(draw(byte_edit(WHOLE, end)) for _ in range(count)))

        return case()

    def lay(self, case: Case) -> int:
        """The file with the edited header, or with edited bytes."""
        header, data = self._bases[case.base]
        changed = changes_of({HEADER: header, WHOLE: file_of(header, data)}, case)
        whole = changed.get(WHOLE)
        if whole is None:
            whole = file_of(changed.get(HEADER) or header, data)
        (self.room / WHOLE).write_bytes(whole)
        return len(whole)

    def check(self, case: Case) -> None:
        """Open it as the compiler does and read every tensor."""
        self._read(self.room / WHOLE)

    def _read(self, path: Path) -> None:
        with ExitStack() as stack:
            options = self._options(checkpoint=path, output=None, dry_run=True)
            source = self._open(options, stack)
            assert source.checkpoint is not None
            for name, shape in source.tensors.items():
                if source.published is None or name not in source.published:
                    source.checkpoint.read(name)
                    continue
                found = source.published.read(name, 0, shape[0]).values(shape[1])
                if not np.array_equal(found, source.checkpoint.read(name)):
                    raise Wrong(f"{name} has other values than the package gguf reads")
