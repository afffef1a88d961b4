"""A small compiled model for the tests of the driver."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from sala_compile.codegen.compiler import CompileResult
from tests.support.checkpoints import LIGHTNING, SPARSE, tiny_config, write_checkpoint
from tests.support.compiled import compile_checkpoint

SMALL = tiny_config(mixers=(SPARSE, LIGHTNING), hidden=32, heads=2, kv_heads=1)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A checkpoint, its artifact, and what the compiler said."""

    checkpoint: Path
    artifact: Path
    result: CompileResult


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Two layers in float32, with files to be copied; even tokens end an answer."""
    folder = tmp_path_factory.mktemp("compiled")
    checkpoint = write_checkpoint(folder / "checkpoint", SMALL)
    (checkpoint / "tokenizer_config.json").write_text('{"add_bos_token": true}\n')
    ends = {"eos_token_id": list(range(0, SMALL["vocab_size"], 2))}
    (checkpoint / "generation_config.json").write_text(json.dumps(ends))
    (checkpoint / "README.md").write_text("not copied")
    artifact = folder / "small.sala"
    return Compiled(checkpoint, artifact, compile_checkpoint(checkpoint, artifact))
