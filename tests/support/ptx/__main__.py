"""`python -m tests.support.ptx [WORDS]`: every GPU kernel's tests on executed PTX, as a table.

Takes all files of tests that launch kernels, or those with one of WORDS in their paths. Writes
Markdown to standard output, a row for each file and architecture; the exit code is 1 where a test
failed.
"""

import re
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import click

from sala_compile.codegen.gpu_code.cubin import assembler_version
from sala_compile.codegen.targets.cuda import CudaTarget
from tests.support.launching_tests import FOLDER, launching_files

EXECUTED = re.compile(r"executed (\d+) instructions of (\d+) programs .* in (\d+) launches")
PASSED = re.compile(r"(\d+) (passed|failed|skipped|error)")


@click.command()
@click.argument("words", nargs=-1)
@click.option("--arch", default="89,90,120", show_default=True, help="Architectures to execute.")
def main(words: tuple[str, ...], arch: str) -> None:
    """Run the tests of the GPU kernels on the PTX of each architecture."""
    failed = False
    click.echo(f"# GPU kernels, their compiled PTX executed, {date.today()}\n")
    click.echo(f"Made by `python -m tests.support.ptx --arch {arch}`: Triton {version('triton')},")
    click.echo(f"NumPy {version('numpy')}. A failed test is a wrong number, a race, an access")
    click.echo("outside of a buffer, a divergence before an instruction of whole warps, or a")
    click.echo("result that is read before it was waited for.\n")
    click.echo("| tests | code | passed | failed | programs | launches | instructions | seconds |")
    click.echo("|---|---|---|---|---|---|---|---|")
    for number in arch.split(","):
        target = CudaTarget(int(number))
        for path in launching_files():
            if words and not any(word in str(path) for word in words):
                continue
            row, output = _run(path, target)
            click.echo(row)
            if output:
                failed = True
                click.echo(output, err=True)
    click.echo(f"\nThe assembler beside it is of CUDA {assembler_version(CudaTarget(90))}.")
    sys.exit(failed)


def _run(path: Path, target: CudaTarget) -> tuple[str, str]:
    """The row of a file, and what pytest printed if something failed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += ["-p", "tests.support.ptx.plugin", "--ptx", str(target.architecture)]
    began = time.monotonic()
    done = subprocess.run([*command, str(path)], capture_output=True, text=True)
    seconds = time.monotonic() - began
    counts = {kind: int(count) for count, kind in PASSED.findall(done.stdout.splitlines()[-1])}
    found = EXECUTED.search(done.stdout)
    instructions, programs, launches = found.groups() if found else ("-",) * 3
    passed, failed = counts.get("passed", 0), counts.get("failed", 0) + counts.get("error", 0)
    name = path.relative_to(FOLDER).with_suffix("")
    cells = (name, target.processor, passed, failed, programs, launches, instructions)
    row = "| " + " | ".join(map(str, cells)) + f" | {seconds:.0f} |"
    return row, done.stdout + done.stderr if done.returncode else ""


if __name__ == "__main__":
    main()
