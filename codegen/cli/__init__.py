"""Commands of the compiler."""

from importlib import import_module

from sala_compile.runtime.common.hidden_torch import hide_torch
from sala_compile.runtime.errors import CompileError, reported_as


def sala_compile() -> None:
    """Entry point of the console script sala-compile."""
    _run("sala-compile", "sala_compile.codegen.cli.compile")


def sala_tune() -> None:
    """Entry point of the console script sala-tune."""
    _run("sala-tune", "sala_compile.codegen.cli.tune")


def _run(program: str, module: str) -> None:
    """Run a command; name the extra where only the runtime is installed."""
    hide_torch()
    with reported_as(program):
        try:
            found = import_module(module)
        except ModuleNotFoundError as error:
            raise CompileError(
                f"the package {error.name} is not installed; this environment only runs artifacts",
                fix="pip install 'sala-compile[compile]'",
            ) from None
    found.main()
