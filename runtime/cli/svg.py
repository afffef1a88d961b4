"""The few shapes that the pictures of the commands are made of, as SVG."""

from collections.abc import Sequence
from html import escape

STYLE = (
    "text{font-size:12px;fill:#333} .title{font-size:14px;font-weight:bold} .big{font-size:18px;"
    "font-weight:bold} .small{font-size:10px} .inside{font-size:11px;fill:#fff}"
)
BACKGROUND = '<rect width="100%" height="100%" fill="#fff"/>'


def document(width: float, height: float, body: Sequence[str]) -> str:
    """A whole picture of some shapes."""
    size = f'width="{width}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">'
    return "\n".join([head, f"<style>{STYLE}</style>", BACKGROUND, *body, "</svg>", ""])


def rectangle(
    x: float, y: float, width: float, height: float, fill: str = "#000", told: str = ""
) -> str:
    """A filled rectangle; `told` shows where the mouse rests on it."""
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.2f}" fill="{fill}"'
    if not told:
        return f"<rect {place}/>"
    return f'<rect {place} stroke="#fff" stroke-width="0.4"><title>{escape(told)}</title></rect>'


def line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    """A thin line."""
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{colour}"/>'


def text(x: float, y: float, text: str, style: str = "", *, anchor: str = "start") -> str:
    """A line of text at a base line; `style` is one of the classes of `STYLE`."""
    kind = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{kind} text-anchor="{anchor}">{escape(text)}</text>'


def round_step(size: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, ... that is not below `size`."""
    scale = 1
    while True:
        for factor in (1, 2, 5):
            if factor * scale >= size:
                return factor * scale
        scale *= 10
