"""Checkpoints compiled for the CPU, for samples and for measurements."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import sala_compile

CHUNK = 512
"""New tokens of a step, the compiler's default: no context is shorter."""


def compiled(checkpoint: Path, artifact: Path, context: int) -> Path:
    """The artifact of a checkpoint for so many tokens, compiled unless it is there."""
    if not artifact.exists():
        command = [str(Path(sys.executable).parent / "sala-compile"), str(checkpoint)]
        options = ["-o", str(artifact), "--context", str(max(context, CHUNK))]
        subprocess.run([*command, *options], check=True, stdout=sys.stderr)
    return artifact


def loaded(artifact: Path, context: int, **options: Any) -> Any:
    """An artifact of `compiled`, loaded for so many tokens."""
    return sala_compile.load(artifact, context=context, chunk=min(context, CHUNK), **options)
