"""The command line that all parts share, and how they end."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.budget import Budget, process_age, stop_when_told
from benchmarks.gpu.results import Document


@dataclass(frozen=True, slots=True)
class Part:
    """What a part works with."""

    options: Any
    document: Document
    budget: Budget


@contextmanager
def part(
    description: str | None,
    add_arguments: Callable[[argparse.ArgumentParser], Any] = lambda parser: None,
    *,
    arguments: list[str] | None = None,
) -> Iterator[Part]:
    """Run the block as a part; the document is complete when the block ends by itself.

    Ends the process with 1 where a row did not hold, and as `Stopped` does where time ran out.
    """
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("prepared", type=Path, help="What prepare.py made")
    parser.add_argument("results", type=Path, help="Folder of results.json")
    parser.add_argument("--part", required=True, help="Name of the part in results.json")
    parser.add_argument(
        "--seconds", type=float, default=480, help="Of this process, from its start"
    )
    parser.add_argument("--device", default="cuda")
    add_arguments(parser)
    options = parser.parse_args(arguments)
    stop_when_told()
    document = Document(options.results, options.part)
    try:
        yield Part(options, document, Budget(options.seconds - process_age()))
    except Exception as error:
        document.note(error=f"{type(error).__name__}: {error}")
        raise
    document.finish()
    raise SystemExit(0 if document.passed else 1)
