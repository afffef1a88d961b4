"""Teacher and student as artifacts: recall by length, memory, and tokens a second, in turns."""

import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.random_state import write_random_state
from examples.halo.artifacts import loaded
from examples.halo.data.token_texts import TokenTexts
from examples.halo.files import write_json
from examples.halo.recall_texts import VALUE, recall_texts
from examples.halo.report.samples import sample_rows

TASKS = {"needle": 1, "multi-key": 8}
"""Pairs of a key and a value in a text; one of them is asked for."""
TEXTS = 20
DECODED, TURNS = 8, 5
"""Tokens of a turn, and turns of each model, for tokens a second."""
Row = dict[str, Any]


def recall_rows(
    models: dict[str, Path], prose: TokenTexts, lengths: Sequence[int], seed: int
) -> list[Row]:
    """The share of values that each artifact's likeliest tokens are, by task and length."""
    rows: list[Row] = []
    for name, artifact in models.items():
        with loaded(artifact, max(lengths)) as model:
            for task, pairs in TASKS.items():
                for length in lengths:
                    key = (seed, 6, pairs, length)
                    asked = recall_texts(prose, key, TEXTS, length, pairs)
                    found = [_is_found(model, ids) for ids in asked.token_ids.numpy()]
                    share = float(np.mean(found))
                    rows.append({"model": name, "task": task, "length": length, "found": share})
    return rows


def rate_rows(models: dict[str, Path], contexts: Sequence[int]) -> list[Row]:
    """Planned bytes and tokens a second after so many tokens, models in turns.

    The tokens before are a state of random numbers: its keys and values are read as any others.
    """
    rows: list[Row] = []
    for context in contexts:
        with ExitStack() as stack:
            ready = {name: _ready(stack, path, context) for name, path in models.items()}
            rates: dict[str, list[float]] = {name: [] for name in models}
            for _ in range(TURNS):
                for name, (model, sequence) in ready.items():
                    rates[name].append(_rate(model, sequence))
            for name, found in rates.items():
                rate = round(statistics.median(found), 2)
                size = ready[name][0].plan.total_bytes
                row = {"model": name, "context": context, "bytes": size}
                rows.append({**row, "tokens_per_second": rate})
    return rows


def measure(
    path: Path,
    models: dict[str, Path],
    prose: TokenTexts,
    lengths: Sequence[int],
    contexts: Sequence[int],
    seed: int,
) -> dict[str, list[Row]]:
    """Recall, rates and samples, written to `path`."""
    found = {
        "recall": recall_rows(models, prose, lengths, seed),
        "rates": rate_rows(models, contexts),
        "samples": sample_rows(models, prose, seed),
    }
    write_json(path, found)
    return found


def _is_found(model: Any, ids: np.ndarray) -> bool:
    logits = model.logits(ids[:-1])[-VALUE:]
    return bool((logits.argmax(axis=1) == ids[-VALUE:]).all())


def _ready(stack: ExitStack, artifact: Path, context: int) -> tuple[Any, Any]:
    """A model and a sequence of it with `context` tokens, one of which it has decoded."""
    room = context + 1 + TURNS * DECODED
    model = stack.enter_context(loaded(artifact, room))
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "random.state"
        write_random_state(artifact, state, context)
        sequence = stack.enter_context(model.restore(state))
    model.decode([sequence], [0])
    return model, sequence


def _rate(model: Any, sequence: Any) -> float:
    """Tokens a second of one turn."""
    began = time.perf_counter()
    for token in range(DECODED):
        model.decode([sequence], [token])
    return DECODED / (time.perf_counter() - began)
