"""The golden checkpoints, compiled once for each element type, and their expected outputs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import sala_compile
from sala_compile.passes.assign_precision import Precision
from sala_compile.runtime.model import Model
from tests.support.compiled import GOLDEN, compile_checkpoint

NAMES = ("sala-tiny-a", "sala-tiny-b")
LoadGolden = Callable[..., Model]


@pytest.fixture(scope="session")
def load_golden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadGolden]:
    """Give the loaded model of a golden checkpoint, by name and element type."""
    folder = tmp_path_factory.mktemp("golden")
    models: dict[tuple[str, Precision], Model] = {}

    def load(name: str, dtype: Precision = Precision.FLOAT32) -> Model:
        key = name, dtype
        if key not in models:
            path = folder / f"{name}-{dtype}.sala"
            compile_checkpoint(GOLDEN / name, path, dtype=dtype)
            models[key] = sala_compile.load(path, context=704, batch=4, chunk=512, speculate=3)
        return models[key]

    yield load
    for model in models.values():
        model.close()


@pytest.fixture(scope="session")
def expected() -> Callable[[str], dict[str, np.ndarray]]:
    """Give the stored outputs of a golden checkpoint."""
    return lambda name: load_file(Path(GOLDEN) / name / "golden.safetensors")
