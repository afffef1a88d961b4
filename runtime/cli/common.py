"""What the commands share: option types and the look of tables."""

import json
import sys
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from runtime.errors import RequestError
from runtime.units import parse_bytes, parse_tokens


class Size(click.ParamType):
    """An option such as `32K` or `8GiB`."""

    def __init__(self, name: str, parse: Callable[[str], int]) -> None:
        """`name` is what the help shows, `parse` refuses with a RequestError."""
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number that `value` names."""
        try:
            return self._parse(value)
        except RequestError as error:
            self.fail(f"{error.found}; expected {error.expected}", param, ctx)


TOKENS = Size("tokens", parse_tokens)
BYTES = Size("bytes", parse_bytes)


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
