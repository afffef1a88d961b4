"""Small conversions: a golden checkpoint as teacher, random tokens as texts."""

from pathlib import Path
from typing import Any

import numpy as np

from examples.halo.options import ConvertOptions, Precision
from examples.halo.student_config import StudentFamily
from tests.support.compiled import GOLDEN

TEACHER = GOLDEN / "llama-tied-a"


def write_tokens(folder: Path, count: int = 20_000, vocabulary: int = 90) -> Path:
    """A file of token ids in which a token says much about the next one."""
    generator = np.random.default_rng(0)
    follower = generator.permutation(vocabulary)
    ids = [0]
    for jump in generator.random(count - 1) < 0.3:
        ids.append(int(generator.integers(vocabulary)) if jump else int(follower[ids[-1]]))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tokens.npy"
    np.save(path, np.array(ids, np.uint32))
    return path


def small_options(folder: Path, **fields: Any) -> ConvertOptions:
    """Options of a conversion of seconds, in `folder`/work."""
    chosen: dict[str, Any] = {
        **{"teacher": TEACHER, "student": StudentFamily.HYPENET, "work": folder / "work"},
        **{"tokens": 4096, "length": 48, "long_length": 96, "batch": 2, "parts": 2},
        **{"precision": Precision.FLOAT32, "threads": 1, "rates": (3e-3, 1e-3, 1e-4)},
    }
    if "data" not in fields:
        fields["data"] = (write_tokens(folder),)
    return ConvertOptions(**{**chosen, **fields})


def silent(stage: str, line: dict[str, Any], steps: int, left: float) -> None:
    """Progress that nobody reads."""
