"""`python -m tests.support.ptx [WORDS]`: every GPU kernel's tests on executed PTX, as a table.

Takes all files of tests that launch kernels, or those with one of WORDS in their paths. Writes
Markdown to standard output, a row for each file and architecture; the exit code is 1 where a test
failed, whose row is left out. Rows are kept: what was executed for the same files of the project is
not executed again.
"""

import json
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from sala_compile.codegen.gpu_code.cubin import assembler_version
from sala_compile.codegen.targets.cuda import CudaTarget
from tests.support.launching_tests import FOLDER, launching_files
from tests.support.ptx import kept
from tests.support.ptx.kept import Executed


@click.command(context_settings={"show_default": True})
@click.argument("words", nargs=-1)
@click.option("--arch", default="89,90,120", help="Architectures to execute.")
@click.option(
    "--rows", "folder", type=click.Path(path_type=Path), default=kept.FOLDER, help="Where they are."
)
@click.option("--only-kept", is_flag=True, help="Execute nothing: the rows that are current.")
def main(words: tuple[str, ...], arch: str, folder: Path, only_kept: bool) -> None:
    """Run the tests of the GPU kernels on the PTX of each architecture."""
    failed = 0
    click.echo(f"# GPU kernels, their compiled PTX executed, {date.today()}\n")
    click.echo(f"Made by `python -m tests.support.ptx --arch {arch}`: Triton {version('triton')},")
    click.echo(f"NumPy {version('numpy')}. A failed test is a wrong number, a race, an access")
    click.echo("outside of a buffer, a divergence before an instruction of whole warps, or a")
    click.echo("result that is read before it was waited for. The digest is that of all programs")
    click.echo("of a row, as Triton writes them.\n")
    click.echo("\n".join(kept.HEADER))
    for number in arch.split(","):
        target = CudaTarget(int(number))
        for path in launching_files():
            if words and not any(word in str(path) for word in words):
                continue
            row = kept.read(folder, _name(path), target.processor)
            if row is None and not only_kept:
                row, output = _run(path, target)
                if row is None:
                    failed += 1
                    click.echo(output, err=True)
                else:
                    kept.write(folder, row)
            if row is not None:
                click.echo(row.row())
    click.echo(f"\nThe assembler beside it is of CUDA {assembler_version(CudaTarget(90))}.")
    if failed:
        click.echo(f"{failed} files of tests failed.")
    sys.exit(failed > 0)


def _name(path: Path) -> str:
    return str(path.relative_to(FOLDER).with_suffix(""))


def _run(path: Path, target: CudaTarget) -> tuple[Executed | None, str]:
    """The row of a file of which no test failed, or None, and what pytest printed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += ["-p", "tests.support.ptx.plugin", "--ptx", str(target.architecture)]
    began = time.monotonic()
    with TemporaryDirectory() as place:
        figures = Path(place, "figures.json")
        options = ["--ptx-figures", str(figures), str(path)]
        done = subprocess.run([*command, *options], capture_output=True, text=True)
        if done.returncode:
            return None, done.stdout + done.stderr
        found = json.loads(figures.read_text())
    seconds = round(time.monotonic() - began)
    row = Executed(
        tests=_name(path),
        processor=target.processor,
        seconds=seconds,
        triton=version("triton"),
        **found,
    )
    return row, ""


if __name__ == "__main__":
    main()
