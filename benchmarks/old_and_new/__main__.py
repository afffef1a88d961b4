"""An old commit compared with the working tree.

    python -m benchmarks.old_and_new bits
    python -m benchmarks.old_and_new bits --only needle --only "float32 native"
    python -m benchmarks.old_and_new speed --threads 2

Each side runs in processes of its own with the interpreter and libraries of this one, compiles with
its own compiler, and loads what it compiled. What the old side computes is kept in --work. `bits`
exits with 1 where a result differs that has to be equal.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from benchmarks.old_and_new.bits import Found, Trees
from benchmarks.old_and_new.models import ROOT, models
from benchmarks.old_and_new.speed import Race
from benchmarks.old_and_new.trees import Side, SideError, commit_hash, old_tree

DEFAULT = "dd23339"
"""The last commit whose packages are imported by bare names."""


@click.group(help=__doc__.partition("\n")[0])
def main() -> None:
    """Compare two commits."""


def _common(command: click.Command) -> click.Command:
    for option in (
        click.option("--commit", default=DEFAULT, show_default=True, help="The old one."),
        click.option(
            "--work",
            type=click.Path(path_type=Path, file_okay=False),
            default=ROOT / "build" / "old-and-new",
            show_default=True,
            help="Keeps the old files and what they computed.",
        ),
    ):
        command = option(command)
    return command


@main.command()
@_common
@click.option("--only", multiple=True, help="Models with this in their name; may be repeated.")
@click.option("--every", is_flag=True, help="Print every case, not only those that differ.")
def bits(commit: str, work: Path, only: tuple[str, ...], every: bool) -> None:
    """Compare logits, states and answers of the golden, needle and random models."""
    chosen = [each for each in models() if not only or any(part in each.name for part in only)]
    if not chosen:
        raise click.UsageError(f"no model's name has {' or '.join(only)} in it")
    failed = 0
    with _folder() as fresh, _trees(commit, work, fresh) as (old, new, kept):
        trees = Trees(old, new, kept, fresh)
        for model in chosen:
            try:
                found = trees.compare(model)
            except SideError as error:
                found = [Found(model.name, str(error), float("inf"), holds=False, note="failed")]
            failed += sum(not each.holds for each in found)
            _print(model.name, found, every)
    click.echo(f"{len(chosen)} models, {failed} cases differ" if failed else "all hold")
    sys.exit(failed > 0)


def _print(model: str, found: list[Found], every: bool) -> None:
    exact = [each for each in found if each.exact]
    loose = max((each.difference for each in found if not each.exact), default=0.0)
    equal = sum(each.difference == 0 for each in exact)
    click.echo(f"{model:32} {equal}/{len(exact)} cases equal; other cuts differ by {loose:.1e}")
    for each in found:
        if every or not each.holds:
            mark = "" if each.holds else "DIFFERS  "
            click.echo(f"    {mark}{each.case:48} {each.words}")


@main.command()
@_common
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
@click.option("--rounds", default=16, show_default=True, help="Samples of each decode.")
@click.option("--model", type=click.Choice(["released", "needle"]), multiple=True)
def speed(commit: str, work: Path, threads: int, rounds: int, model: tuple[str, ...]) -> None:
    """Time prefill and decode of 8 released layers and of the needle model in turn."""
    click.echo(f"{'work':44} {'old':>10} {'new is ... times as fast':>28}")
    for name in model or ("released", "needle"):
        with _folder() as fresh, _trees(commit, work, fresh, threads) as (old, new, _):
            race = Race(old, new, threads, rounds)
            for found in getattr(race, name)((fresh / "old", fresh / "new")):
                line = f"{found.work:44} {found.old_seconds * 1e3:7.2f} ms   {found.fast:.3f}"
                click.echo(f"{line} (median of {found.count} turns: {found.turns:.3f})")


@contextmanager
def _trees(
    commit: str, work: Path, fresh: Path, threads: int = 0
) -> Iterator[tuple[Side, Side, Path]]:
    """Both sides, and where what is kept of the old one is; `threads` where they are timed."""
    commit = commit_hash(commit)
    with ExitStack() as stack:
        sides: list[Side] = []
        for tree, name in ((old_tree(commit, work.resolve()), "old"), (ROOT, "new")):
            side = Side(tree, fresh / name, threads=threads or 1, poison=not threads)
            stack.callback(side.close)
            sides.append(side)
        yield sides[0], sides[1], work.resolve() / commit


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="old-and-new-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
