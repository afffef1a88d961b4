"""How sala-compile shows its work: progress bars on stderr, a summary on stdout."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from sala_compile.codegen.progress import Advance
from sala_compile.runtime.common.units import format_bytes, format_tokens


class Bars:
    """A bar for each stage, on stderr and only where it is a terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bytes = DownloadColumn(binary_units=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            _Amount(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> "Bars":
        """Start to draw."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop to draw."""
        self._progress.stop()

    @contextmanager
    def stage(self, name: str, total: int | None = None, *, unit: str = "") -> Iterator[Advance]:
        """A bar until the stage is done."""
        task: TaskID = self._progress.add_task(name, total=total, unit=unit)
        yield lambda count: self._progress.advance(task, count)
        self._progress.update(task, total=total or 1, completed=total or 1)


class _Amount(TextColumn):
    """What is done of how much: bytes in binary units, anything else as it is counted."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Any) -> Any:
        """The amount of one task; nothing where the total is unknown."""
        if task.total is None or not task.fields.get("unit"):
            return super().render(task)
        if task.fields["unit"] == "B":
            return f"{format_bytes(task.completed)} / {format_bytes(task.total)}"
        return f"{task.completed:.0f} / {task.total:.0f} {task.fields['unit']}"


def print_summary(summary: dict[str, Any]) -> None:
    """The plain summary of a compilation."""
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=120)
    console.print(_headline(summary))
    console.print(_pass_table(summary["passes"]))
    for target, kernels in summary["kernels"].items():
        console.print(_kernel_table(target, kernels))
    if "memory" in summary:
        console.print(_weight_table(summary["weights"]))
        several = len(summary["memory_by_target"]) > 1
        for target, memory in summary["memory_by_target"].items():
            console.print(_memory_line(summary, memory, f" on {target}" if several else ""))
            console.print(_context_line(memory))
    for warning in summary["notes"]:
        console.print(f"note: {warning}")


def _headline(summary: dict[str, Any]) -> str:
    model = summary["model"]
    lines = [
        f"{model['family']}, {model['parameters'] / 1e6:.1f} M parameters, "
        f"{model['layers']} layers, vocabulary {model['vocabulary']}",
        f"attention {summary['attention']}, {summary['dtype']}, "
        f"targets {', '.join(summary['kernels']) or 'none'}, {summary['seconds']:.1f} s",
    ]
    if written := summary.get("artifact"):
        lines.append(f"wrote {written['path']}: {format_bytes(written['bytes'])}")
        if signature := written.get("signature"):
            lines.append(f"wrote {signature}")
    else:
        lines.append("nothing was written")
    return "\n".join(lines)


def _table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        made.add_column(column, justify="right" if index else "left")
    return made


def _pass_table(passes: list[dict[str, Any]]) -> Table:
    made = _table("\npasses", "pass", "ops before", "ops after")
    for entry in passes:
        made.add_row(entry["name"], str(entry["before"]), str(entry["after"]))
    return made


def _kernel_table(target: str, kernels: list[dict[str, Any]]) -> Table:
    made = _table(f"\nkernels for {target}", "family", "kernels", "steps")
    families = dict.fromkeys(entry["family"] for entry in kernels)
    for family in families:
        own = [entry for entry in kernels if entry["family"] == family]
        made.add_row(family, str(len(own)), str(sum(entry["steps"] for entry in own)))
    return made


def _weight_table(weights: dict[str, Any]) -> Table:
    made = _table("\nweights", "kind", "stored as", "tensors", "bits of a value", "bytes")
    for entry in weights["kinds"]:
        stored = entry["dtype"] if entry["encoding"] == "plain" else entry["encoding"]
        bits = f"{entry['bits_per_value']:.4g}"
        size = format_bytes(entry["bytes"])
        made.add_row(entry["kind"], stored, str(entry["tensors"]), bits, size)
    return made


def _context_line(memory: dict[str, Any]) -> str:
    """The longest context of one sequence for usual budgets, rounded down to 1K."""
    fitting = ", ".join(
        f"{entry['context'] >> 10}K tokens in {entry['memory_bytes'] >> 30} GiB"
        for entry in memory["largest_context"]
        if entry["context"]
    )
    return f"longest context: {fitting or 'none fits 80 GiB'}"


def _memory_line(summary: dict[str, Any], memory: dict[str, Any], place: str) -> str:
    parts = ", ".join(
        f"{name.replace('_', ' ')} {format_bytes(size)}"
        for name, size in memory["parts"].items()
        if size
    )
    return (
        f"\nmemory for one sequence of {format_tokens(summary['context'])} tokens{place}: "
        f"{format_bytes(memory['total_bytes'])} ({parts})"
    )
