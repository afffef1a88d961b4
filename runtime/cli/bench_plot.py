"""A picture of sala-bench's rates: how much of its ceilings each reaches, as SVG."""

from typing import Any

from sala_compile.runtime.cli.svg import document as svg_document
from sala_compile.runtime.cli.svg import line, rectangle, text
from sala_compile.runtime.common.units import format_tokens

LEFT, TOP, WIDTH, RIGHT = 210, 96, 640, 210
"""Pixels: the labels, the headline, the bars up to the ceiling, the numbers."""
BAR, STEP, GROUP = 14, 48, 18
"""Heights of a bar, of a rate with its two bars, and between prefill and decode."""
BANDWIDTH, PEAK = "#4f7cac", "#e0a458"
BEYOND = 1.15
"""How far a bar may pass its ceiling before it is cut: caches are faster than memory."""


def rates_svg(document: dict[str, Any]) -> str:
    """Two bars for each rate: bytes beside reading memory, operations beside the peak."""
    ceilings = document["ceilings"]
    body = [
        text(24, 30, f"{document['artifact']}: rates beside this machine's ceilings", "big"),
        text(
            24,
            52,
            f"{document['processor']}, {document['threads']} threads, {document['dtype']}, "
            f"target {document['target']}",
        ),
        rectangle(24, 64, 13, 13, BANDWIDTH),
        text(42, 75, f"of reading memory, {ceilings['read_bytes_per_second'] / 1e9:.1f} GB/s"),
        rectangle(284, 64, 13, 13, PEAK),
        text(
            302,
            75,
            f"of arithmetic, {ceilings['peak_operations_per_second'] / 1e9:.0f} G operations/s",
        ),
    ]
    bottom, previous = TOP, None
    bars: list[str] = []
    for row in document["rows"]:
        if previous is not None and row["work"] != previous:
            bottom += GROUP
        bars += _rate(row, bottom)
        bottom, previous = bottom + STEP, row["work"]
    return svg_document(
        LEFT + WIDTH + RIGHT, bottom + 24, [*body, *_grid(bottom), *bars, *_scale(bottom)]
    )


def _rate(row: dict[str, Any], top: int) -> list[str]:
    name = f"{row['work']} {format_tokens(row['length'])}"
    if row["batch"] > 1:
        name += f" x {row['batch']}"
    parts = [text(LEFT - 12, top + 20, name, anchor="end")]
    fractions = ((row["bandwidth_fraction"], BANDWIDTH), (row["peak_fraction"], PEAK))
    for index, (fraction, colour) in enumerate(fractions):
        y, width = top + 2 + index * (BAR + 3), WIDTH * min(fraction, BEYOND)
        parts.append(rectangle(LEFT, y, width, BAR, colour, f"{name}: {fraction:.3f}"))
        parts.append(text(LEFT + width + 6, y + 11, f"{fraction:.2f}", "small"))
    rate = f"{row['tokens_per_second']:.4g} tokens/s"
    return [*parts, text(LEFT + WIDTH + RIGHT - 14, top + 20, rate, "title", anchor="end")]


def _grid(bottom: int) -> list[str]:
    return [
        line(LEFT + WIDTH * part / 4, TOP - 6, LEFT + WIDTH * part / 4, bottom, "#ddd")
        for part in range(5)
    ]


def _scale(bottom: int) -> list[str]:
    return [
        text(LEFT + WIDTH * part / 4, bottom + 14, f"{part / 4:.2g}", "small", anchor="middle")
        for part in range(5)
    ]
