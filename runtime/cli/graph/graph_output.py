"""The file of --graph: a page, or a picture."""

from pathlib import Path

from rich.text import Text

from sala_compile.runtime.artifact.outputs import OutputRule
from sala_compile.runtime.artifact.reader import Artifact
from sala_compile.runtime.cli.graph.graph_picture import GraphPicture
from sala_compile.runtime.cli.graph.outline import Outline, outline_of
from sala_compile.runtime.cli.graph.page import page_of
from sala_compile.runtime.cli.pictures import check_picture, write_picture
from sala_compile.runtime.cli.sections import ReportSection

PAGES = (".html", ".htm")
_PAGE = OutputRule(what="the page")


def check_graph(path: Path) -> None:
    """Raise RequestError unless the file can be written and drawn; before the work."""
    if path.suffix.lower() in PAGES:
        _PAGE.check(path)
    else:
        check_picture(path, "--graph")


def written_graph(artifact: Artifact, target: str, path: Path) -> ReportSection:
    """Write the page or picture of a target's program; what it shows, and a sentence."""
    outline = outline_of(artifact, target)
    if path.suffix.lower() in PAGES:
        _PAGE.write(path, page_of(outline))
    else:
        write_picture(path, *GraphPicture(outline).figure())
    return ReportSection("graph", _document(outline), (Text(f"wrote {path}: {_words(outline)}"),))


def _document(outline: Outline) -> dict[str, object]:
    return {
        "facts": dict(outline.facts),
        "layers": [
            {"kind": kind.title, "layers": kind.layers, "weight_bytes": kind.weight_bytes}
            for kind in outline.kinds
        ],
    }


def _words(outline: Outline) -> str:
    return ", ".join(f"{kind.title} {kind.numbers}" for kind in outline.kinds)
