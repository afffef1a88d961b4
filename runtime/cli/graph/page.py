"""The outline of a model as a page: one file, without scripts, whose kernels open on a click."""

from importlib.resources import files

from sala_compile.runtime.cli.graph.outline import Outline
from sala_compile.runtime.common.units import format_bytes

TEMPLATE = "page.html"


def page_of(outline: Outline) -> bytes:
    """The page as UTF-8; the same outline gives the same bytes."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["size"] = format_bytes
    text = files("sala_compile.runtime.cli.graph").joinpath(TEMPLATE).read_text("utf-8")
    return environment.from_string(text).render(outline=outline).encode()
