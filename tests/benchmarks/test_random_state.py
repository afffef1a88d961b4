"""States of random numbers, by which benchmarks have a long context without its prefill."""

from pathlib import Path

import numpy as np

import sala_compile
from benchmarks.random_state import write_random_state
from tests.support.checkpoints import VARIATIONS, write_checkpoint
from tests.support.compiled import compile_checkpoint


def test_a_random_state_is_restored_and_continued(tmp_path: Path) -> None:
    path = tmp_path / "random.sala-state"
    artifact = tmp_path / "small.sala"
    checkpoint = write_checkpoint(tmp_path / "checkpoint", VARIATIONS["hidden-unlike-heads"])
    compile_checkpoint(checkpoint, artifact)
    write_random_state(artifact, path, 150)
    with sala_compile.load(artifact, context=200, batch=2, sequences=2, threads=1) as model:
        first, second = model.restore(path), model.restore(path)
        assert len(first) == 150
        logits = first.append([3, 4])
        assert np.isfinite(logits).all()
        assert np.array_equal(logits, second.append([3, 4]))
