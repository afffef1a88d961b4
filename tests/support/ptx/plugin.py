"""`pytest -p tests.support.ptx.plugin --ptx 89`: the tests of GPU kernels run what was compiled.

The interpreter is replaced before any test is imported; `architecture` is that of the option.
"""

import json
from pathlib import Path

import pytest

from tests.support import interpreted
from tests.support.ptx.kept import digest_of_texts, loaded_files
from tests.support.ptx.runner import Executor

OUTCOMES = ("passed", "skipped")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--ptx", type=int, metavar="ARCH", help="89, 90, 120: the code to execute")
    parser.addoption("--ptx-figures", type=Path, metavar="FILE", help="where to write what ran")


def pytest_configure(config: pytest.Config) -> None:
    """Replace the interpreter."""
    architecture = config.getoption("--ptx")
    if architecture is not None:
        config.stash[_EXECUTOR] = executor = Executor(architecture)
        interpreted.run, interpreted.TARGET = executor.run, executor.target


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much was executed."""
    executor = terminalreporter.config.stash.get(_EXECUTOR, None)
    if executor is not None:
        figures = executor.figures
        terminalreporter.write_line(
            f"executed {figures.instructions} instructions of {len(figures.texts)} programs"
            f" for {executor.target.name} in {figures.launches} launches"
        )
        path = terminalreporter.config.getoption("--ptx-figures")
        if path is not None:
            counted = {kind: len(terminalreporter.stats.get(kind, ())) for kind in OUTCOMES}
            found = {
                **counted,
                "count": len(figures.texts),
                "launches": figures.launches,
                "instructions": figures.instructions,
                "programs": digest_of_texts(figures.texts),
                "files": loaded_files(),
            }
            path.write_text(json.dumps(found))


_EXECUTOR = pytest.StashKey[Executor]()
