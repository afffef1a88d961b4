"""A part of the GPU benchmarks without a GPU: rows that take a while, one of which may fail."""

import argparse
import time
from functools import partial

from benchmarks.gpu.budget import measure
from benchmarks.gpu.part import part


def _row(number: int, seconds: float, failing: int) -> dict[str, int]:
    time.sleep(seconds)
    if number == failing:
        raise ValueError("as asked")
    return {"number": number}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=5)
    parser.add_argument("--each", type=float, default=0.0)
    parser.add_argument("--failing", type=int, default=-1)


if __name__ == "__main__":
    with part(__doc__, _arguments) as mine:
        given = mine.options
        rows = ((f"{n}", partial(_row, n, given.each, given.failing)) for n in range(given.rows))
        measure(mine.document, mine.budget, rows)
