"""The model as a page and as a picture."""

import json
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from sala_compile.runtime.cli import inspect
from sala_compile.runtime.cli.graph.outline import mixers_of
from tests.support import handmade as tiny


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hand-made artifact whose name has to be escaped."""
    return tiny.write_handmade(tmp_path_factory.mktemp("graph") / "a<b>&c.sala")


def _inspect(*arguments: object) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(inspect.command, words, prog_name="sala-inspect")


class _Links(HTMLParser):
    """The tags of a page, and what leads out of it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outward: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the tag, and an address that is not of the page itself."""
        self.tags.append(tag)
        named = [value or "" for name, value in attrs if name in ("href", "src")]
        self.outward += [value for value in named if not value.startswith("#")]


def test_the_page_is_one_file_without_scripts(artifact: Path, tmp_path: Path):
    page = tmp_path / "graph.html"
    assert _inspect(artifact, "--graph", page).exit_code == 0
    text, links = page.read_text("utf-8"), _Links()
    links.feed(text)
    assert links.outward == []
    assert "script" not in links.tags
    assert {"details", "summary", "section"} <= set(links.tags)
    assert "a&lt;b&gt;&amp;c.sala" in text
    assert "tiny" in text


def test_the_picture_is_drawn_twice_to_the_same_bytes(artifact: Path, tmp_path: Path):
    pytest.importorskip("matplotlib")
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    for path in (first, second):
        assert _inspect(artifact, "--graph", path).exit_code == 0
    assert first.read_bytes() == second.read_bytes()
    words = "".join(ElementTree.parse(first).getroot().itertext())
    for shown in ("a<b>&c.sala", "tokens", "logits", "tiny"):
        assert shown in words


def test_the_document_says_what_is_drawn(artifact: Path, tmp_path: Path):
    result = _inspect(artifact, "--graph", tmp_path / "x.html", "--json")
    document = json.loads(result.stdout)["graph"]
    assert sum(len(kind["layers"]) for kind in document["layers"]) > 0


def test_a_place_that_is_not_there_is_refused_before_the_work(artifact: Path):
    result = _inspect(artifact, "--graph", "/nowhere/x.html")
    assert result.exit_code == 2
    assert "no directory /nowhere" in result.stderr


@pytest.mark.parametrize(
    ("families", "title"),
    [
        ({"append_kv", "select_blocks", "attend_blocks"}, "Sparse attention"),
        ({"append_kv", "attend_blocks"}, "Softmax attention"),
        ({"linear", "lightning_attention"}, "Lightning attention"),
        ({"head_linear", "attend_latents"}, "Latent attention"),
        ({"select_pools", "attend_latents"}, "Selected attention and latent attention"),
        ({"gated_recurrence", "attend_blocks"}, "Gated recurrence and softmax attention"),
        ({"linear"}, "Layer"),
    ],
)
def test_a_layer_is_called_by_its_mixers(families: set[str], title: str) -> None:
    assert mixers_of(families) == title
