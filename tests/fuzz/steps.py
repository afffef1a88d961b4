"""A loaded model runs: both phases, both regimes, between guard pages."""

from pathlib import Path
from typing import Any

import numpy as np

import sala_compile
from tests.fuzz.guard import guarded

LOAD: dict[str, Any] = {"batch": 2, "memory": "48MiB", "threads": 1, "poison": True}
PROMPT = 80
"""Tokens: beyond the dense regime of the models here."""


def load_and_step(path: Path, *, low: bool, context: int | None, **options: Any) -> None:
    """Load an artifact, read a prompt and decode two sequences."""
    with guarded(low=low), sala_compile.load(path, context=context, **(LOAD | options)) as model:
        longest = min(PROMPT, model.context - 2)
        ids = np.arange(max(1, longest)) % model.vocabulary
        with model.sequence() as first, model.sequence() as second:
            first.append(ids)
            if longest > 1:
                second.append(ids[: min(3, longest)])
                model.decode([first, second], [0, model.vocabulary - 1])
