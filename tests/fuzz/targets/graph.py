"""Graphs that somebody edited: parsed, verified and read for what they say, or refused."""

from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz import fixtures
from tests.fuzz.case import Case, Edit
from tests.fuzz.strategies import byte_edit
from tests.fuzz.target import Folder, Target, changes_of, read_files
from tests.fuzz.values import Draw

FORMS = ("model.mlir", "model.generic.mlir")
WORDS = (
    *(b'"', b"%", b"@", b"<", b">", b"{", b"}", b"#sala", b"!sala.batch", b"-1", b"9" * 40, b"0x"),
    *(b"dense<1>", b"f64", b"tensor<?x", b"//", b"\\", b"sala.stage", b"\xff", b"1.0e999", b"("),
)


class GraphTarget(Target):
    """Opened as `sala-compile GRAPH.mlir` does."""

    name = "graph"
    share = 3_000
    continuous = 40

    def prepare(self) -> None:
        """Open a graph once."""
        from sala_compile.codegen.edited_graph import open_graph

        self._open = open_graph
        self._files = read_files(self.fixtures / fixtures.MODEL, *FORMS)
        for name in FORMS:
            open_graph(self.fixtures / fixtures.MODEL / name)

    def start(self, room: Path) -> None:
        """Both forms of a graph."""
        super().start(room)
        source = room / "source"
        source.mkdir()
        for name, data in self._files.items():
            (source / name).write_bytes(data)
        self._folder = Folder(source, room / "graph")

    def cases(self) -> st.SearchStrategy[Case]:
        """A few words that are there already, or none of them, somewhere in either form."""

        @st.composite
        def case(draw: Draw) -> Case:
            name = draw(st.sampled_from(FORMS))
            data, edits = self._files[name], list[Edit]()
            for _ in range(draw(st.integers(1, 3))):
                begin = draw(st.integers(0, len(data) - 1))
                taken = draw(st.integers(0, len(data) - 1))
                end = begin + draw(st.sampled_from((0, 1, 2, 8, 40)))
                moved = data[taken : taken + draw(st.integers(1, 60))]
                word = draw(st.sampled_from((*WORDS, moved, moved, moved)))
                edits.append(Edit(name, "splice", (begin, end), word))
            if draw(st.integers(0, 9)) == 0:
                edits = [draw(byte_edit(name, len(data)))]
            return Case("graph", tuple(edits), {"form": name})

        return case()

    def lay(self, case: Case) -> int:
        """Nothing has to be put right: the file has no hash."""
        return self._folder.lay(changes_of(self._files, case))

    def check(self, case: Case) -> None:
        """Open the graph."""
        graph = self._open(self._folder.path / case.options["form"])
        assert graph.tensors, "a graph that is accepted reads weights"
