"""The stub driver built with gcc, and programs run in a process that finds it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("stub_driver.c")
ROOT = SOURCE.parents[2]


def build_stub(folder: Path, *defines: str) -> Path:
    """Build `libcuda.so.1` in `folder`."""
    library = folder / "libcuda.so.1"
    command = ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", str(SOURCE)]
    command += [f"-D{name}" for name in defines]
    subprocess.run([*command, "-o", str(library)], check=True)
    return library


@dataclass(frozen=True, slots=True)
class StubRun:
    """What a program printed as JSON, and the lines that the stub wrote."""

    result: Any
    log: list[str]


def run_with_stub(stub: Path, code: str, *arguments: str, **options: int) -> StubRun:
    """Run Python code that prints one JSON document; `options` are told to the stub."""
    log = stub.with_name(f"{os.getpid()}.log")
    log.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(stub.parent),
        "STUB_CUDA": ",".join(f"{name}={value}" for name, value in options.items()),
        "STUB_CUDA_LOG": str(log),
        "SALA_POISON": "0",
    }
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = log.read_text().splitlines() if log.exists() else []
    return StubRun(json.loads(done.stdout), lines)
