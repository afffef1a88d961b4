"""How sala-tune shows its work: the kernel that is tried, and the gains at the end."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sala_compile.codegen.tuning.tuner import TuningJob, Work
from sala_compile.runtime.artifact.tuning import Tuning, library_beside

BUG = 1.1
"""A default that loses by more than this is a bug in the default."""


class Board:
    """The kernels that are done and the candidate that is tried, on stderr."""

    def __init__(self) -> None:
        console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            refresh_per_second=1,  # drawing takes a CPU from what is measured
        )
        self._task = self._progress.add_task("", total=None)
        self._name, self._best, self._tried = "", 1.0, 0

    def __enter__(self) -> "Board":
        """Start to draw."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop to draw."""
        self._progress.stop()

    def begin(self, name: str) -> None:
        """Other work begins."""
        self._name, self._best, self._tried = name, 1.0, 0
        self._progress.update(self._task, description=name)

    def found(self, total: int, left: int) -> None:
        """So many kernels are worth a search, and so many of them are left."""
        self._progress.update(self._task, total=total, completed=total - left)

    def tell(self, schedule: Any, gain: float | None) -> None:
        """A candidate was tried."""
        self._tried += 1
        self._best = max(self._best, gain or 0.0)
        text = f"{self._name}: {self._tried} tried, best {self._best:.2f} x the default"
        self._progress.update(self._task, description=text)

    def done(self) -> None:
        """A kernel is done."""
        self._progress.advance(self._task)


def document(job: TuningJob, tuning: Tuning, works: list[Work]) -> dict[str, Any]:
    """The outcome as JSON."""
    return {
        "artifact": str(job.artifact.directory),
        "tuning": str(job.output),
        "library": str(library_beside(job.output)),
        "target": job.target,
        "processor": tuning.processor,
        "threads": job.threads,
        "length": job.length,
        "kernels": [_kernel(work, tuning) for work in works],
    }


def _kernel(work: Work, tuning: Tuning) -> dict[str, Any]:
    symbol = work.kernel.symbol
    record = tuning.kernels.get(symbol)
    entry: dict[str, Any] = {"symbol": symbol, "share": work.share, "done": record is not None}
    if record is None:
        return entry
    return entry | {
        "gain": record.gain,
        "is_default": record.is_default,
        "schedule": record.schedule,
        "differs": record.differs,
        "complete": record.complete,
        "tried": record.tried,
        "refused": record.refused,
        "cases": [case.model_dump() | {"gain": case.gain} for case in record.cases],
        "default_is_a_bug": any(case.gain > BUG for case in record.cases),
    }


def print_report(report: dict[str, Any]) -> None:
    """The gains as a table."""
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=160)
    title = f"kernels of {report['artifact']}, target {report['target']}, {report['threads']}"
    made = Table(
        title=f"{title} threads, compared with the default",
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for name in ("kernel", "share", "tried", "work", "default ms", "tuned ms", "gain", "clean"):
        made.add_column(name, justify="left" if name in ("kernel", "work") else "right")
    for entry in report["kernels"]:
        _add_rows(made, entry)
    console.print(made)
    bugs = [entry["symbol"] for entry in report["kernels"] if entry.get("default_is_a_bug")]
    for symbol in bugs:
        console.print(f"note: the default of {symbol} loses by more than 10 %: please report it")
    short = [entry for entry in report["kernels"] if not entry.get("complete", False)]
    if short:
        console.print(f"{len(short)} kernels were not finished in this time; run again to go on")
    console.print(f"wrote {report['tuning']} and {report['library']}", soft_wrap=True)


def _add_rows(made: Table, entry: dict[str, Any]) -> None:
    head = (entry["symbol"], f"{entry['share']:.1%}")
    if not entry["done"]:
        made.add_row(*head, "", "not reached")
        return
    tried = f"{entry['tried']}" + (f" - {entry['refused']}" if entry["refused"] else "")
    if not entry["cases"]:
        text = "the default is best" if entry["complete"] else "the default is best so far"
        made.add_row(*head, tried, text, "", "", "1.00", "")
        return
    for index, case in enumerate(entry["cases"]):
        made.add_row(
            *(head if index == 0 else ("", "")),
            tried if index == 0 else "",
            f"{case['work']}, {case['rows']} rows",
            f"{case['default_seconds'] * 1e3:.3f}",
            f"{case['tuned_seconds'] * 1e3:.3f}",
            f"{case['gain']:.2f}",
            f"{case['clean']}/{case['samples']}",
        )
