"""A progress bar for each stage of work, on standard error and only where it is a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sala_compile.runtime.common.units import format_bytes


class StageBars:
    """Bars from `with` to its end.

    With `measuring` a bar goes when its stage ends, and drawing takes little from the CPUs.
    """

    def __init__(self, *, measuring: bool = False) -> None:
        console = Console(stderr=True)
        self._measuring = measuring
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            _Amount(""),
            TimeElapsedColumn(),
            console=console,
            transient=measuring,
            disable=not console.is_terminal,
            refresh_per_second=1 if measuring else 10,
        )

    def __enter__(self) -> "StageBars":
        """Start to draw."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop to draw."""
        self._progress.stop()

    @contextmanager
    def stage(
        self, name: str, total: int | None = None, *, unit: str = ""
    ) -> Iterator[Callable[[int], None]]:
        """Work of `total` units (unknown without; "B" means bytes): what receives how many more."""
        task = self._progress.add_task(name, total=total, unit=unit)
        yield lambda count: self._progress.advance(task, count)
        if self._measuring:
            self._progress.remove_task(task)
        else:
            self._progress.update(task, total=total or 1, completed=total or 1)


class _Amount(TextColumn):
    """What is done of how much: bytes in binary units, anything else as it is counted."""

    def render(self, task: Any) -> Any:
        """The amount of one task; nothing if the total is unknown."""
        if task.total is None or not task.fields.get("unit"):
            return super().render(task)
        if task.fields["unit"] == "B":
            return f"{format_bytes(task.completed)} / {format_bytes(task.total)}"
        return f"{task.completed:.0f} / {task.total:.0f} {task.fields['unit']}"
