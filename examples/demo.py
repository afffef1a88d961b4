"""From a checkpoint to an answer, with the commands that a user types.

    python examples/demo.py [DIRECTORY]

Compiles the trained checkpoint of examples/needle into DIRECTORY, hides a pass key in a text of
32768 tokens, shows where it is and what the sparse layers read to find it, lets the command line
answer from the same text, and runs the golden vectors, which compare the compiled model with the
reference. Needs no torch.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = "examples/needle/checkpoint"


def main() -> None:
    """Run every command of the demo; stop at the first that fails."""
    parser = argparse.ArgumentParser(description="Run the demo.")
    parser.add_argument("directory", nargs="?", type=Path, default=Path("build/demo"))
    directory: Path = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    if directory.is_absolute() or Path.cwd() != ROOT:
        directory = directory.resolve()
    artifact, haystack = str(directory / "needle.sala"), str(directory / "haystack.txt")
    run("sala-compile", CHECKPOINT, "-o", artifact, "--context", "64K")
    show = ("-m", "examples.needle.show", artifact, "--length", "32K")
    run(sys.executable, *show, "--write", haystack)
    run("sala-run", artifact, "--prompt-file", haystack)
    run("sala-inspect", artifact, "--memory", "--context", "64K", "--context", "1M")
    run("sala-inspect", artifact, "--verify")


def run(program: str, *arguments: str) -> None:
    """Show the command as a user would type it, and run it."""
    name = Path(program).name
    print(f"\n$ {shlex.join([name, *arguments])}", flush=True)
    path = program if program == sys.executable else str(Path(sys.executable).parent / program)
    code = subprocess.run([path, *arguments], check=False, cwd=ROOT).returncode
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
