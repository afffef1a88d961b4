"""Command lines of the runtime: sala-run, sala-inspect, sala-bench and sala-serve.

Their modules are imported here, where Ctrl-C has its message and its exit code already.
"""

from importlib import import_module

from sala_compile.runtime.common.hidden_torch import hide_torch
from sala_compile.runtime.errors import reported_as


def sala_run() -> None:
    """Entry point of the console script sala-run."""
    _run("sala-run", "sala_compile.runtime.cli.run")


def sala_inspect() -> None:
    """Entry point of the console script sala-inspect."""
    _run("sala-inspect", "sala_compile.runtime.cli.inspect")


def sala_bench() -> None:
    """Entry point of the console script sala-bench."""
    _run("sala-bench", "sala_compile.runtime.cli.bench")


def sala_serve() -> None:
    """Entry point of the console script sala-serve."""
    _run("sala-serve", "sala_compile.runtime.cli.serve")


def _run(program: str, module: str) -> None:
    hide_torch()
    with reported_as(program):
        found = import_module(module)
    found.main()
