"""The deployment that speaks HTTP: the application of sala-serve before engines elsewhere."""

import asyncio
from pathlib import Path
from typing import Any

from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from sala_compile.runtime.artifact import open_artifact
from sala_compile.runtime.serving.http.application import Guards, application
from sala_compile.runtime.serving.http.key_gate import read_keys
from sala_compile.runtime.serving.http.served_model import ServedModel
from sala_compile.runtime.serving.kept.record_files import UrlRecords
from sala_compile.runtime.serving.kept.shared_folder import NAMED
from sala_compile.runtime.serving.opened_engine import require_tokenizer
from sala_compile.runtime.serving.ray.artifact_model import ArtifactModel
from sala_compile.runtime.serving.ray.artifact_place import local_artifact
from sala_compile.runtime.serving.ray.held_pages import PromptPages
from sala_compile.runtime.serving.ray.remote_engine import RemoteEngine
from sala_compile.runtime.serving.ray.remote_states import RemoteStates
from sala_compile.runtime.state.saving import model_digest


class Ingress:
    """Checks keys and limits, renders, tokenizes, and writes the answers. Ray makes it."""

    async def __init__(self, options: dict[str, Any], engines: DeploymentHandle[Any]) -> None:
        """Wait for the first engine; what is wrong keeps the replica from starting."""
        asked: Any = engines.options(method_name="facts")
        facts: dict[str, Any] = await asked.remote()
        await asyncio.to_thread(self._prepare, options, engines, facts)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """The application, for Ray."""
        return application(self._served, self._guards)

    def __del__(self) -> None:
        """End what compiles grammars."""
        if hasattr(self, "_served"):
            self._served.close()

    def _prepare(
        self, options: dict[str, Any], engines: DeploymentHandle[Any], facts: dict[str, Any]
    ) -> None:
        path = local_artifact(options["artifact"])
        require_tokenizer(path)
        artifact = open_artifact(path, hash_weights=False)
        keys = options["api_key_file"]
        self._guards = Guards(
            [] if keys is None else read_keys(Path(keys)), local_only=not options["anyone"]
        )
        pages = PromptPages(artifact)
        engine = RemoteEngine(engines, pages)
        states = None
        url = options["prefix_dir"]
        if url is not None:
            records = UrlRecords(f"{url}/{NAMED}", model_digest(artifact.manifest))
            states = RemoteStates(engines, records, pages)
        self._served = ServedModel.of(
            ArtifactModel(artifact, **facts),
            engine,
            options["model_name"],
            states=states,
            log_prompts=options["log_prompts"],
        )
