"""Races within blocks of a golden artifact's kernels, by NVIDIA's compute-sanitizer.

    python -m benchmarks.gpu.racecheck build/gpu build/gpu/results --part racecheck

It sees what no emulator of ours can: shared memory that asynchronous matrix instructions and copies
read and write. A machine without the tool gets a row that says so.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import sala_compile
from benchmarks.gpu.budget import measure
from benchmarks.gpu.part import part

TOOL = "compute-sanitizer"
PLACES = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer")
ARTIFACT = "golden-sala-tiny-a-bfloat16.sala"
TOKENS = 70
"""Of the prompt: sparse layers select from 65 on."""
_SUMMARY = re.compile(r"RACECHECK SUMMARY: (\d+) hazards? displayed \((\d+) errors?")
_MARGIN = 5.0


def target(artifact: Path, device: str) -> None:
    """Prefill, decode and sampling, as few launches as have every kernel."""
    ids = np.random.default_rng(0).integers(3, 500, TOKENS)
    with sala_compile.load(artifact, context=128, chunk=64, device=device) as model:
        model.logits(ids[:9])
        model.generate(ids, max_new_tokens=3, temperature=0.7, seed=1, ignore_eos=True)


def find_tool(places: Sequence[str] = PLACES) -> str | None:
    """Where the tool is; None where it is not."""
    found = shutil.which(TOOL)
    candidates = [Path(found)] if found else [Path(place, TOOL) for place in places]
    return next((str(path) for path in candidates if path.is_file()), None)


def check(tool: str | None, command: Sequence[str], seconds: float) -> dict[str, Any]:
    """Run a command under the tool; hazards that it tells, and whether it came to its end."""
    if tool is None:
        return {"left_out": f"the machine has no {TOOL}"}
    options = ["--tool", "racecheck", "--racecheck-report", "analysis", "--print-limit", "20"]
    process = subprocess.Popen(
        [tool, *options, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        process_group=0,  # what is checked is a child of the tool's
    )
    ended = False
    try:
        text, _ = process.communicate(timeout=max(1.0, seconds))
        ended = process.returncode == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        text, _ = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return verdict(text, ended=ended)


def verdict(text: str, *, ended: bool) -> dict[str, Any]:
    """What the tool's output says: hazards do not hold, an end that was not reached proves less."""
    hazards = len(re.findall(r"^=+ (?:Error|Warning): (?:Race|.*hazard)", text, re.MULTILINE))
    summary = _SUMMARY.search(text)
    if summary is not None:
        hazards = max(hazards, int(summary[1]))
    row: dict[str, Any] = {"hazards": hazards, "ended": ended and summary is not None}
    if hazards or not row["ended"]:
        row["output"] = text[-4000:]
    return row | ({"passed": hazards == 0} if row["ended"] or hazards else {})


def main() -> None:
    """Check the artifact; with --target, be what is checked."""

    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--target", action="store_true", help="Run what is checked, alone")

    with part(__doc__, more) as mine:
        artifact = mine.options.prepared / ARTIFACT
        if mine.options.target:
            target(artifact, mine.options.device)
            sys.exit()
        command = [sys.executable, "-m", "benchmarks.gpu.racecheck", *sys.argv[1:], "--target"]
        seconds = mine.budget.left - _MARGIN
        rows = [(ARTIFACT, lambda: check(find_tool(), command, seconds))]
        measure(mine.document, mine.budget, rows)


if __name__ == "__main__":
    main()
