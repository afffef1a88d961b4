"""An application on Ray Serve in processes of this machine, and what tests ask of it."""

import os
import re
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.http_server import until

APP = "sala"
REPLICAS = 2


@dataclass
class Cluster:
    """A running application: its address, options, and the processes behind it."""

    url: str
    shared: Path
    options: dict[str, Any]

    def client(self) -> openai.OpenAI:
        """The official client, which tries once."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60)

    def deploy(self, **changes: Any) -> None:
        """Deploy the application, or change it while it runs."""
        from ray import serve

        from sala_compile.runtime.serving.ray import app
        from sala_compile.runtime.serving.ray.app_options import AppOptions

        self.options |= changes
        serve.run(app(AppOptions(**self.options)), name=APP, route_prefix="/")

    def ask(self, method: str, **keywords: Any) -> Any:
        """The result of a method of an engine's replica; `to` names which."""
        from ray import serve

        handle: Any = serve.get_deployment_handle("engine", APP)
        return handle.options(method_name=method).remote(**keywords).result(timeout_s=30)

    def replicas(self, count: int = REPLICAS) -> dict[str, dict[str, Any]]:
        """What each of so many replicas says, by its name."""
        found: dict[str, dict[str, Any]] = {}

        def all_answered() -> bool:
            each = self.ask("usage")
            found[each["replica"]] = each
            return len(found) >= count

        until(all_answered, 180)
        return found

    def counted(self, name: str, *, replicas: int = REPLICAS) -> Counter[str]:
        """A counter of each replica, by the name that Prometheus knows."""
        found: Counter[str] = Counter()
        for replica in self.replicas(replicas):
            text = self.ask("metrics", to=replica).decode()
            match = re.search(rf"^sala_{name} ([\d.]+)$", text, re.MULTILINE)
            assert match is not None, name
            found[replica] = int(float(match[1]))
        return found

    def kill(self, replica: str) -> None:
        """End a replica as a machine that fails does."""
        os.kill(self.replicas()[replica]["process"], signal.SIGKILL)


@contextmanager
def local_ray() -> Iterator[None]:
    """Ray with two CPUs and little memory, unless this process has it already."""
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        ray.init(
            address="local",
            num_cpus=2,
            object_store_memory=100 << 20,
            include_dashboard=False,
            logging_level="error",
            log_to_driver=False,
        )
    except Exception as error:  # of many kinds: without processes, ports or shared memory for it
        pytest.skip(f"Ray itself does not start on this machine: {error}")
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def cluster(artifact: Path, shared: Path, **options: Any) -> Iterator[Cluster]:
    """Start Ray and the application; both end with the block."""
    from ray import serve

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with local_ray():
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            chosen = {
                **{"artifact": str(artifact), "replicas": REPLICAS, "batch": 4, "threads": 1},
                **{"cpus": 0.1, "ingress_cpus": 0.1, "prefix_cache": "1MiB", "grace": 60.0},
                **{"prefix_dir": str(shared), "stats_seconds": 0.5, "health_seconds": 1.0},
                **options,
            }
            found = Cluster(f"http://127.0.0.1:{port}", shared, chosen)
            found.deploy()
            yield found
        finally:
            serve.shutdown()
