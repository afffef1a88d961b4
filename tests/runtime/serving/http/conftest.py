"""One server for all tests that change nothing of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http_server import Running, serving, write_talking


@pytest.fixture(scope="session")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The handmade model with a letter for each token, and a chat template."""
    return write_talking(tmp_path_factory.mktemp("talking") / "talking.sala")


@pytest.fixture(scope="session")
def server(talking: Path) -> Iterator[Running]:
    """A server of it."""
    with serving(talking) as running:
        yield running
