"""The part of the campaign that belongs to the tests: a minute of seeds, and what failed once.

Each runs in a process of its own, because it forks. Only a case that takes ten times as long as
the limit counts here; `make fuzz` measures against the limit itself.
"""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import corpus
from tests.fuzz.case import from_json, to_json
from tests.fuzz.fixtures import make_in_process
from tests.fuzz.targets import TARGETS

SLACK = 10


@pytest.fixture(scope="session")
def fixtures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The valid files; processes of one test run share them."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    directory = folder / "fuzz-fixtures"
    with (folder / "fuzz-fixtures.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            make_in_process(folder / "fuzz-fixtures.new")
            (folder / "fuzz-fixtures.new").rename(directory)
    return directory


def run(fixtures: Path, *arguments: str) -> None:
    """Run the command; its report is the message of a failed test."""
    command = [sys.executable, "-m", "tests.fuzz", "--fixtures", str(fixtures), *arguments]
    command += ["--workers", "1", "--slack", str(SLACK)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-4000:]}"


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_inputs_are_accepted_or_refused(fixtures: Path, name: str):
    """Those that failed once, and a few others; before they are damaged all are accepted."""
    kept = ["--corpus"] if corpus.names(name) else []
    count = str(TARGETS[name].continuous)
    run(fixtures, "--target", name, "--whole", "12", *kept, "--count", count)


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_what_it_says(name: str):
    for entry in corpus.names(name):
        text = corpus.path_of(name, entry).read_text()
        assert to_json(from_json(text)) == text
