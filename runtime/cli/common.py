"""Helpers of the commands: where they print, the look of tables."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table


def output() -> Console:
    """Where a command's result goes: stdout, wide and plain when it is not a terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def notes() -> Console:
    """Where everything else goes: stderr."""
    return Console(stderr=True, highlight=False)


def table(title: str, *columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """An empty table without a frame; the columns `numbers` are aligned to the right."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left")
    return made


def print_json(document: dict[str, Any]) -> None:
    """The one JSON document of a command with `--json`."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    json.dump(document, sys.stdout, indent=2, ensure_ascii=not is_utf8)
    sys.stdout.write("\n")
