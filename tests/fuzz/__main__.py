"""`python -m tests.fuzz`: damaged inputs, as many as asked, or the one of a seed.

python -m tests.fuzz                                    all targets, 100 000 inputs
python -m tests.fuzz --target state --count 500         500 inputs of one
python -m tests.fuzz --target state --seed 123          one input, shown, with its traceback
python -m tests.fuzz --target state --seed 123 --save   and kept in the corpus
python -m tests.fuzz --corpus                           all inputs of the corpus
python -m tests.fuzz --corpus --count 500               these, and 500 others of each target
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tests.fuzz import campaign, corpus
from tests.fuzz.case import Case, to_json
from tests.fuzz.fixtures import make_in_process
from tests.fuzz.meter import FAILED, REFUSED, Result
from tests.fuzz.report import Figures, document, failures, row, table
from tests.fuzz.seeds import drawer
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

INPUTS = 100_000


def main() -> int:
    """Run what the command line asks; 1 where an input failed."""
    os.environ.setdefault("SALA_POISON", "1")
    asked = _arguments()
    with ExitStack() as stack:
        folder = asked.fixtures
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sala-fuzz-")))
        if not (folder / "checkpoint").is_dir():
            make_in_process(folder)
        if asked.seed is not None:
            return _one(asked, folder)
        found = [_campaign(name, asked, folder) for name in asked.target or TARGETS]
    print(table(found), failures(found), sep="\n\n")
    if asked.report is not None:
        asked.report.write_text(document(found))
    return int(any(each.failures for each in found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--target", action="append", choices=list(TARGETS))
    parser.add_argument("--count", type=int, help="inputs of each target")
    parser.add_argument("--total", type=int, default=INPUTS, help="inputs of all of them")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="show the input of this seed and run it")
    parser.add_argument("--save", metavar="NAME", help="keep it in the corpus")
    parser.add_argument("--corpus", action="store_true", help="run the corpus, and --count others")
    parser.add_argument(
        "--whole", type=int, default=0, help="so many inputs first that are not damaged"
    )
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--slack", type=float, default=1.0, help="times the limit of time")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--fixtures", type=Path, help="where the valid files are, or shall be")
    asked = parser.parse_args()
    if asked.seed is not None and len(asked.target or ()) != 1:
        parser.error("--seed is of one --target")
    return asked


def _campaign(name: str, asked: argparse.Namespace, folder: Path) -> Figures:
    """The inputs of one target: those of the corpus, of seeds, or both."""
    target, figures, start = _prepared(name, folder), Figures(name), time.monotonic()
    for draw, seeds, whole in _parts(name, target, asked):
        for result in campaign.run(target, draw, seeds, workers=asked.workers, slack=asked.slack):
            if whole and result.outcome == REFUSED:
                result = replace(result, outcome=FAILED, kind="refused before it was damaged")
            figures.add(result)
            if result.outcome == FAILED and len(figures.failures[result.kind]) == 1:
                print(f"{name} {result.seed}: {result.kind}", file=sys.stderr, flush=True)
    spent = time.monotonic() - start
    print(row(figures), f"{spent:.0f} s", file=sys.stderr, flush=True)
    return figures


def _parts(
    name: str, target: Target, asked: argparse.Namespace
) -> Iterator[tuple[Callable[[int], Case], list[int], bool]]:
    """What draws the cases of a target, from which seeds, and whether they are not damaged."""
    if asked.whole:
        yield _whole(drawer(name, target.cases())), list(range(asked.whole)), True
    if asked.corpus:
        kept = corpus.cases(name)
        yield kept.__getitem__, list(range(len(kept))), False
    if asked.count or not asked.corpus:
        count = asked.count or max(1, target.share * asked.total // INPUTS)
        seeds = list(range(asked.first, asked.first + count))
        yield drawer(name, target.cases()), seeds, False


def _whole(draw: Callable[[int], Case]) -> Callable[[int], Case]:
    """The cases without their edits."""
    return lambda seed: replace(draw(seed), edits=())


def _one(asked: argparse.Namespace, folder: Path) -> int:
    """Show the case of a seed, and what becomes of it."""
    (name,) = asked.target
    target = _prepared(name, folder)
    case = drawer(name, target.cases())(asked.seed)
    print(case)
    if asked.save:
        corpus.path_of(name, asked.save).write_text(to_json(case))
    result: Result
    (result,) = campaign.run(target, lambda _: case, [asked.seed], slack=asked.slack)
    print(result.outcome, result.kind, f"{result.seconds:.2f} s", f"{result.memory >> 20} MiB")
    print(result.detail)
    return int(result.outcome == FAILED)


def _prepared(name: str, folder: Path) -> Target:
    target = TARGETS[name](folder)
    target.prepare()
    return target


if __name__ == "__main__":
    sys.exit(main())
