"""The models whose prefixes are kept."""

from pathlib import Path

import pytest


@pytest.fixture(params=["float32", "bfloat16"])
def path(request: pytest.FixtureRequest, compiled) -> Path:
    return compiled(request.param)


@pytest.fixture
def float32(compiled) -> Path:
    return compiled("float32")
