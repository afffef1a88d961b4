"""The models that are served, compiled into a folder once."""

from pathlib import Path

from rich.console import Console

from benchmarks.served.server_process import ROOT
from examples.chat.smollm2 import fetch
from sala_compile.codegen.cli.compile import command as compile_command
from sala_compile.runtime.artifact import open_artifact

NEEDLE = ROOT / "examples" / "needle" / "checkpoint"


class ServedArtifact:
    """An artifact in a folder: its path and its vocabulary."""

    def __init__(self, folder: Path, name: str, source: Path, context: str) -> None:
        """Compile it if it is not there."""
        self.path = folder / f"{name}.sala"
        if not self.path.exists():
            Console(stderr=True).print(f"Compiling {name}")
            arguments = [str(source), "-o", str(self.path), "--context", context]
            compile_command(arguments, standalone_mode=False)
        self.vocabulary = open_artifact(self.path).manifest.model.vocabulary


def smollm2(folder: Path) -> ServedArtifact:
    """SmolLM2-135M-Instruct, of the GGUF file that the peers read."""
    return ServedArtifact(folder, "smollm2", fetch(), "8K")


def needle(folder: Path) -> ServedArtifact:
    """The trained example with sparse attention."""
    return ServedArtifact(folder, "needle", NEEDLE, "128K")
