"""From measurements to a report: rows to tables, tables to a page, the page beside its JSON."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import machine_line

Document = dict[str, Any]


def table(head: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 0) -> list[str]:
    """Lines of a table; all columns but the first `texts` are aligned to the right."""
    aligned = texts * ["---"] + (len(head) - texts) * ["---:"]
    lines = (head, aligned, *rows)
    return [f"| {' | '.join(line)} |" for line in lines]


def page(title: str, document: Document, *blocks: str | Sequence[str]) -> str:
    """A page on the machine of a document, with paragraphs and tables; empty ones are left out."""
    lines = [f"# {title}", "", f"{machine_line(document)}."]
    for block in filter(None, blocks):
        lines += ["", *([block] if isinstance(block, str) else block)]
    return "\n".join(lines) + "\n"


def write_report(path: Path, document: Document, markdown: Callable[[Document], str]) -> None:
    """Write `path` (JSON), and what is for people as Markdown beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    path.with_suffix(".md").write_text(markdown(document))
