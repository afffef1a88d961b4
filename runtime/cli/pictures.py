"""Figures of matplotlib, which the extra `plot` brings, as files with hints at their shapes."""

import io
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from sala_compile.runtime.artifact.outputs import OutputRule
from sala_compile.runtime.errors import RequestError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG = "http://www.w3.org/2000/svg"
FORMATS = ("png", "pdf")
"""What a file name may end with; with any other end the file is an SVG."""
_OUTPUT = OutputRule(what="the file")


def check_picture(path: Path, option: str = "--plot") -> None:
    """Raise RequestError unless a picture can be drawn and written at `path`; before the work."""
    try:
        import_module("matplotlib")
    except ModuleNotFoundError as error:
        raise RequestError(
            f"the package {error.name} is not installed, which draws pictures",
            where=option,
            fix="pip install 'sala-compile[plot]'",
        ) from None
    _OUTPUT.check(path)


def write_picture(path: Path, figure: "Figure", hints: Mapping[str, str]) -> None:
    """Write a figure; the same one gives the same bytes.

    In an SVG, which keeps text as text, `hints` shows a text where the mouse rests on the shape
    with that gid.
    """
    import matplotlib

    suffix = path.suffix.removeprefix(".").lower()
    form = suffix if suffix in FORMATS else "svg"
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sala"}):
        dated = {"png": {}, "pdf": {"CreationDate": None}}.get(form, {"Date": None})
        figure.savefig(buffer, format=form, metadata=dated)
    data = buffer.getvalue()
    _OUTPUT.write(path, _with_hints(data, hints) if form == "svg" else data)


def _with_hints(data: bytes, hints: Mapping[str, str]) -> bytes:
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(data)
    for group in root.iter(f"{{{SVG}}}g"):
        hint = hints.get(group.attrib.get("id", ""))
        if hint is not None:
            title = ElementTree.Element(f"{{{SVG}}}title")
            title.text = hint
            group.insert(0, title)
    return ElementTree.tostring(root, "utf-8", xml_declaration=True)
