"""Old or new, never torn, and no untrue message, whichever system call fails or is the last."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sala_compile.codegen.targets.link import find_linker
from tests.faults.scenarios import SCENARIOS

LEAST = {
    **{"artifact": 100, "compilation": 6, "state": 60},
    **{"tuning": 50, "picture": 40, "prefixes": 24},
}
"""Attempts: so many calls are made at least, or the shim has missed them."""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    source = Path(__file__).with_name("shim.c")
    command = [find_linker(), "-x", "c", "-shared", "-fPIC", "-O1", str(source), "-ldl"]
    subprocess.run([*command, "-o", str(library)], check=True)
    yield library
    shutil.rmtree(library.parent)


@pytest.mark.parametrize("name", SCENARIOS)
def test_whatever_fails_the_old_or_the_new_one_stands_there(shim: Path, name: str):
    extent = os.environ.get("SALA_FAULTS", "few")
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.inject", str(shim), name, extent],
        env=os.environ | {"LD_PRELOAD": str(shim)},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == {}
    assert found["attempts"] >= LEAST[name]
    print(f"{name}: {found['attempts']} attempts")


def test_the_shim_makes_calls_fail(shim: Path, tmp_path: Path):
    """A writer that is not careful is caught: the test can fail."""
    code = (
        "import ctypes, os, sys\n"
        "shim = ctypes.CDLL(sys.argv[1])\n"
        "shim.fault_arm(sys.argv[2].encode(), ctypes.c_long(2), -2)\n"
        "os.write(os.open(sys.argv[2] + '/a', os.O_CREAT | os.O_WRONLY), b'abcdef')\n"
        "print(shim.fault_seen())\n"
        "shim.fault_arm(sys.argv[2].encode(), ctypes.c_long(1), 28)\n"
        "try:\n"
        "    os.rename(sys.argv[2] + '/a', sys.argv[2] + '/b')\n"
        "except OSError as error:\n"
        "    print(error.errno)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(shim), str(tmp_path)],
        env=os.environ | {"LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["2", "28"]
    assert (tmp_path / "a").read_bytes() == b"abc"
