"""A cluster of Ray on this machine, with the handmade model, as small as it can be."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http_server import Running, serving, write_talking
from tests.support.ray_cluster import Cluster, cluster


@pytest.fixture(scope="session")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The handmade artifact with a tokenizer."""
    return write_talking(tmp_path_factory.mktemp("talking") / "talk.sala")


@pytest.fixture(scope="session")
def single(talking: Path) -> Iterator[Running]:
    """One server of it, whose answers are the expected ones."""
    with serving(talking, batch=4, prefix_cache="1MiB") as running:
        yield running


@pytest.fixture(scope="session")
def running(talking: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two replicas of it behind an ingress."""
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    os.environ.pop("RAY_ADDRESS", None)
    with cluster(talking, tmp_path_factory.mktemp("shared")) as found:
        yield found
