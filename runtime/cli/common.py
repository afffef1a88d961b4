"""What the commands share: where they print, the look of tables, files that they write."""

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from runtime.artifact.staging import write_whole
from runtime.errors import RequestError


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
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def require_folder(path: Path | None) -> None:
    """Raise RequestError where the folder of a file to be written is not there."""
    if path is not None and not path.absolute().parent.is_dir():
        raise RequestError(
            f"there is no directory {path.absolute().parent}",
            where=str(path),
            fix="name a file in a directory that can be written",
        )


def write_text(path: Path, text: str) -> None:
    """Write a file that is there whole or, with a RequestError, as it was before."""
    try:
        write_whole(path.absolute(), text.encode())
    except OSError as error:
        raise RequestError(
            f"the file cannot be written: {error.strerror}",
            where=str(path),
            fix="name a file in a directory that can be written",
        ) from None
