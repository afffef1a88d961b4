"""From a checkpoint to tokens, with the commands that a user types.

    python examples/demo.py [DIRECTORY]

Writes a small checkpoint with random weights (so it speaks nonsense) into DIRECTORY, compiles it,
generates from a prompt long enough for the sparse layers to leave blocks out, and runs the golden
vectors, which compare the compiled model with the reference. Needs no torch.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

PROMPT = (
    "Most attention reads every earlier token again for each new one. Here one layer in four reads "
    "only the blocks that score highest, and the other three fold the past into a state of fixed "
    "size, so that the cost of a token hardly grows with the length of the text before it. "
    "A text of this length already makes the sparse layers choose:"
)


def main() -> None:
    """Run every command of the demo; stop at the first that fails."""
    parser = argparse.ArgumentParser(description="Run the demo.")
    parser.add_argument("directory", nargs="?", type=Path, default=Path("build/demo"))
    directory: Path = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    checkpoint, artifact = str(directory / "checkpoint"), str(directory / "demo.sala")
    (directory / "prompt.txt").write_text(PROMPT, encoding="utf-8")
    _run(sys.executable, "examples/demo_checkpoint.py", checkpoint)
    _run("sala-compile", checkpoint, "-o", artifact, "--context", "8K")
    _run(
        *("sala-run", artifact, "--prompt-file", str(directory / "prompt.txt")),
        *("--max-tokens", "96", "--temperature", "0.8", "--top-k", "24", "--ignore-eos"),
    )
    _run("sala-inspect", artifact, "--memory", "--context", "8K", "--context", "1M")
    _run("sala-inspect", artifact, "--verify")


def _run(program: str, *arguments: str) -> None:
    """Show the command as a user would type it, and run it."""
    name = Path(program).name
    print(f"\n$ {shlex.join([name, *arguments])}", flush=True)
    path = program if program == sys.executable else str(Path(sys.executable).parent / program)
    code = subprocess.run([path, *arguments], check=False).returncode
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
