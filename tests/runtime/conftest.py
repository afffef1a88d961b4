"""A hand-made artifact for the tests of the runtime."""

from pathlib import Path

import pytest

from tests.support.handmade import write_handmade


@pytest.fixture(scope="session")
def handmade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact that no test changes."""
    return write_handmade(tmp_path_factory.mktemp("handmade") / "tiny.sala")
