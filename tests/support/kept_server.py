"""A model that keeps prefixes on disk, as a server has one."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import sala_compile
from sala_compile.runtime.model import Model
from sala_compile.runtime.serving.kept.kept_prefixes import KeptPrefixes

LIMIT = 64 << 20
EVERY = 128


@contextmanager
def server(path: Path, directory: Path | str, limit: int = LIMIT, **options: Any) -> Iterator[Any]:
    """A model with a prefix directory, which is left as at a kill unless it is closed."""
    chosen = {"context": 1152, "batch": 2, "chunk": 64, "snapshot_every": EVERY} | options
    with sala_compile.load(path, prefix_cache="4MiB", poison=True, **chosen) as model:
        kept = KeptPrefixes(model, directory, limit)
        try:
            yield model, kept
        finally:
            kept.close()


def wait(kept: KeptPrefixes, done: Callable[[], bool]) -> None:
    for _ in range(20_000):
        if done():
            return
        kept.turn()
        time.sleep(0.0005)
    raise AssertionError("nothing more happens")


def written(kept: KeptPrefixes) -> dict[str, Any]:
    assert kept.drain(60)
    return kept.info()


def ask(model: Model, kept: KeptPrefixes, ids: np.ndarray, exact: bool = False) -> tuple[Any, int]:
    """The logits after a prompt, and how many tokens were not read."""
    engine = model.engine
    assert engine.prefix is not None
    path = engine.stepper.rule.path(len(ids))
    recall = engine.prefix.recall(ids, path, exact=exact)
    if recall is not None:
        wait(kept, lambda: recall.finished)
    with model.sequence() as sequence:
        logits = sequence.append(ids)
        assert sequence.prefix_report is not None
        return logits, sequence.prefix_report.reused_tokens


def reset(model: Model) -> None:
    """Empty the cache in memory."""
    tree = model.engine.prefix.tree
    store = model.engine.store
    for pool in (store.snapshots, *(pool for _, pool in store.groups.pools())):
        if pool.reclaim is not None:
            pool.reclaim(pool.count)
    assert len(tree) == 0
