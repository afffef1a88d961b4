"""Progress bars on standard error, where it is a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from sala_compile.runtime.devices.device import Advance
from sala_compile.runtime.engine.append import Progress as PromptProgress

_PROGRESS_FROM_TOKENS = 256


@contextmanager
def prompt_bar(console: Console, total: int) -> Iterator[PromptProgress | None]:
    """A bar while a prompt of `total` tokens is read; None for a short one."""
    if total < _PROGRESS_FROM_TOKENS or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("prompt"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task("prompt", total=total)

    def advance(done: int) -> None:
        bar.update(task, completed=done)
        if done >= total:
            bar.stop()

    bar.start()
    try:
        yield advance
    finally:
        bar.stop()


def weights_bar(console: Console) -> Advance | None:
    """A bar that is there from the first weights that come to a device to the last."""
    if not console.is_terminal:
        return None
    columns = (TextColumn("weights"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task("weights", total=None)

    def advance(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)
        if done >= total:
            bar.stop()

    return advance
