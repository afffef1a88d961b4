"""Results as JSON and as Markdown."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 0) -> list[str]:
    """Lines of a table; all columns but the first `texts` are aligned to the right."""
    aligned = texts * ["---"] + (len(head) - texts) * ["---:"]
    lines = (head, aligned, *rows)
    return [f"| {' | '.join(line)} |" for line in lines]


def write_results(path: Path, document: dict[str, Any], markdown: str) -> None:
    """Write `path` (JSON), and what is for people as Markdown beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    path.with_suffix(".md").write_text(markdown)
