"""The needle model behind a port, as clients see it; nothing here reaches the network."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.needle.evaluate import CHECKPOINT
from tests.support.http_server import Running, serving

for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "LITELLM_LOCAL_MODEL_COST_MAP"):
    os.environ[name] = "True" if name.startswith("LITELLM") else "1"
for name in ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "LANGSMITH_TRACING", "TQDM_DISABLE"):
    os.environ[name] = "false" if name.startswith("LANGSMITH") else "1"
os.environ["OPENAI_API_KEY"] = KEY = "the-key"


@pytest.fixture(scope="session")
def needle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained example."""
    from sala_compile.passes.assign_precision import Precision
    from tests.support.compiled import compile_checkpoint

    path = tmp_path_factory.mktemp("needle") / "needle.sala"
    compile_checkpoint(CHECKPOINT, path, dtype=Precision.BFLOAT16, context=4096, chunk=512)
    return path


@pytest.fixture(scope="session")
def served(needle: Path) -> Iterator[Running]:
    """A server of it, with a key."""
    with serving(needle, keys=[KEY], batch=8, prefix_cache="64MiB") as running:
        yield running
