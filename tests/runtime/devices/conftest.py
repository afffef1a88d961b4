"""A model on an emulated GPU, whose memory is all given back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import sala_compile
from sala_compile.runtime.model import Model
from tests.support.emulated_gpu import EmulatedDriver


@pytest.fixture
def model(handmade_gpu: Path, drivers: list[EmulatedDriver]) -> Iterator[Model]:
    with sala_compile.load(
        handmade_gpu, device="cuda", batch=3, sequences=4, snapshots=2
    ) as loaded:
        yield loaded
    assert drivers[0].leftovers == []
    assert drivers[0].closed
