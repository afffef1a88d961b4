"""The process that tries grammars, asked by a process with many open files."""

import os
import resource
from collections.abc import Iterator

import pytest

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.structure.grammar_checker import GrammarChecker

SELECTED = 1024
"""Descriptors that select() knows."""


@pytest.fixture
def many_files() -> Iterator[None]:
    """So many open files that the next ones are beyond what select() knows."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] < SELECTED + 100:
        pytest.skip(f"this system allows {limits[1]} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], SELECTED + 100), limits[1]))
    opened = [os.open(os.devnull, os.O_RDONLY)]
    while opened[-1] < SELECTED + 10:
        opened.append(os.dup(opened[0]))
    yield
    for descriptor in opened:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("many_files")
def test_grammars_are_tried_beside_many_open_files() -> None:
    checker = GrammarChecker()
    try:
        checker.check("grammar", 'start: "yes" | "no"', "grammar")
        with pytest.raises(RequestError, match="does not compile"):
            checker.check("grammar", "start: (", "grammar")
    finally:
        checker.close()
