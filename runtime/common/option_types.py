"""Types of command-line options, for the commands of the runtime and of the compiler."""

from collections.abc import Callable
from math import isnan
from pathlib import Path
from typing import Any, cast

import click

from sala_compile.runtime.common.threads import checked_threads
from sala_compile.runtime.common.units import parse_bytes, parse_tokens
from sala_compile.runtime.errors import RequestError


class Size(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]: generic from click 8.3 on
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


class Several(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]: generic from click 8.3 on
    """A list of another type's values, with commas between them."""

    def __init__(self, kind: Any) -> None:
        """`kind`, a `click.ParamType`, converts each of the values."""
        self.name = f"{kind.name},..."
        self._kind = kind

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """The values."""
        if isinstance(value, tuple):
            return cast("tuple[Any, ...]", value)
        parts = [part.strip() for part in str(value).split(",")]
        return tuple(self._kind.convert(part, param, ctx) for part in parts)


class Seconds(click.FloatRange):
    """A time such as `0.25`, `0.25s` or `250ms`."""

    _UNITS = (("ms", 1e-3), ("s", 1.0))

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The seconds that `value` names."""
        text, factor = str(value).strip(), 1.0
        for unit, seconds in self._UNITS:
            if text.endswith(unit):
                text, factor = text.removesuffix(unit).strip(), seconds
                break
        try:
            number = factor * float(text)
            if isnan(number):
                raise ValueError
        except ValueError:
            self.fail(f"{value!r} is no time; expected 0.25, 0.25s or 250ms", param, ctx)
        return super().convert(number, param, ctx)


class DirectoryOrUrl(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]: generic from click 8.3 on
    """A directory of this machine, or a URL."""

    name = "place"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | str:
        """The path, or the text of a URL."""
        return value if isinstance(value, Path) or "://" in value else Path(value)


def _threads(text: Any) -> int:
    return checked_threads(click.INT.convert(text, None, None))


TOKENS = Size("tokens", parse_tokens)
BYTES = Size("bytes", parse_bytes)
THREADS = Size("threads", _threads)
PLACE = DirectoryOrUrl()
VERIFY_KEY = click.option(
    "--verify-key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Refuse the artifact unless NAME.sala.sig is a signature of it by this public key.",
)
"""An option of every command that opens an artifact."""
