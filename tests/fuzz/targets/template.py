"""Chat templates: made by a grammar, damaged, and where files name them in the wrong form."""

from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.fuzz import fixtures
from tests.fuzz.case import Case, Edit
from tests.fuzz.grammar import blocks
from tests.fuzz.strategies import byte_edit
from tests.fuzz.target import Folder, Target, changes_of, read_files
from tests.fuzz.values import ANYTHING, Draw, near

TEMPLATE, CONFIG = "chat_template.jinja", "tokenizer_config.json"
MESSAGES: tuple[Any, ...] = (
    [{"role": "user", "content": "Who did it?"}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "The key is 8882. " * 400},
        {"role": "assistant", "content": "Yes.", "tool_calls": [{"name": "f", "arguments": {}}]},
        {"role": "user", "content": [{"type": "text", "text": "Go on."}]},
    ],
)


class TemplateTarget(Target):
    """Read from a directory and rendered with two conversations."""

    name = "template"
    share = 5_000
    continuous = 300

    def prepare(self) -> None:
        """Import the renderer."""
        from sala_compile.runtime.text.templates.chat import ChatTemplate

        self._template = ChatTemplate
        source = self.fixtures / fixtures.TOKENIZERS / "llama"
        self._files = read_files(source, TEMPLATE, CONFIG)
        self._source = source

    def start(self, room: Path) -> None:
        """A directory of tokenizer files."""
        super().start(room)
        self._folder = Folder(self._source, room / "tokenizer")
        self._render()

    def cases(self) -> st.SearchStrategy[Case]:
        """A template in either file."""

        @st.composite
        def case(draw: Draw) -> Case:
            kind = draw(st.sampled_from(("made",) * 8 + ("inline",) * 2 + ("bytes", "form")))
            options = {"messages": draw(st.integers(0, len(MESSAGES) - 1))}
            remove = Edit(TEMPLATE, "remove")
            if kind == "bytes":
                edits = (draw(byte_edit(TEMPLATE, len(self._files[TEMPLATE]))),)
            elif kind == "form":
                entry = [{"name": "default", "template": draw(ANYTHING)}, {"name": "tool_use"}]
                value = draw(st.one_of(ANYTHING, near(entry)))
                edits = (remove, Edit(CONFIG, "set", ("chat_template",), value))
            else:
                text = draw(blocks())
                edits = (Edit(TEMPLATE, "text", (), text.encode()),)
                if kind == "inline":
                    edits = (remove, Edit(CONFIG, "set", ("chat_template",), text))
            return Case("llama", edits, options)

        return case()

    def lay(self, case: Case) -> int:
        """The files of the case."""
        return self._folder.lay(changes_of(self._files, case))

    def check(self, case: Case) -> None:
        """Read and render."""
        self._render(case.options["messages"])

    def _render(self, which: int = 0) -> None:
        found = self._template.from_files(self._folder.path)
        text = found.render(MESSAGES[which], tools=[{"name": "f"}] if which else None)
        assert isinstance(text, str), "a template makes a text"
