"""What tests of sequences share."""

import numpy as np

from sala_compile.runtime.model import Model


def text(model: Model, length: int, seed: int = 0) -> np.ndarray:
    """Random tokens, int32 [length]."""
    ids = np.random.default_rng(seed).integers(0, model.vocabulary, length)
    return ids.astype(np.int32)


def used(model: Model) -> dict[str, int]:
    """How much of every pool is held."""
    info = model.info()
    names = ("sequences", "snapshots", "pages", "compressed_pages")
    return {name: info[name]["used"] for name in names}


def assert_unused(model: Model) -> None:
    """Nothing is held: nothing leaked."""
    assert not any(used(model).values()), used(model)
