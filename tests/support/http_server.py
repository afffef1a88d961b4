"""An OpenAI server in this process: an artifact behind a real port, in threads."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import tokenizers
from tokenizers import decoders, models

import sala_compile
from sala_compile.runtime.artifact import ArtifactWriter, Manifest, write_artifact
from sala_compile.runtime.model import Model
from sala_compile.runtime.serving.http.application import Guards, application
from sala_compile.runtime.serving.http.bounded_connection import BoundedConnection
from sala_compile.runtime.serving.http.graceful_server import GracefulServer, bind
from sala_compile.runtime.serving.http.request_limits import LIMITS, RequestLimits
from sala_compile.runtime.serving.http.served_model import ServedModel
from sala_compile.runtime.serving.kept.kept_prefixes import KeptPrefixes
from sala_compile.runtime.serving.kept.named_states import NamedStates
from sala_compile.runtime.serving.scheduling.engine_thread import EngineThread
from sala_compile.runtime.serving.scheduling.scheduling_options import SchedulingOptions
from sala_compile.runtime.state.saving import model_digest
from tests.support.handmade import VOCABULARY, fill

LETTERS = "abcdefghijklmnopqrstuvwxyz .!"
"""The tokens of the handmade model by id; `d`, id 3, ends an answer."""
TEMPLATE = (
    "{% for m in messages %}{{ m.content }}.{% endfor %}{% if add_generation_prompt %}!{% endif %}"
)


def write_talking(path: Path, *, files: dict[str, str] | None = None, **changes: Any) -> Path:
    """The handmade artifact with a letter for each token, and a chat template."""
    core = tokenizers.Tokenizer(
        models.BPE(vocab={letter: i for i, letter in enumerate(LETTERS)}, merges=[])
    )
    core.decoder = decoders.Fuse()
    assert len(LETTERS) == VOCABULARY
    given = {"tokenizer.json": core.to_str(), "chat_template.jinja": TEMPLATE} | (files or {})

    def write(writer: ArtifactWriter) -> Manifest:
        for name, text in given.items():
            writer.write_bytes(name, text.encode())
        return fill(writer, **({"context": 4096, "chunk": 64} | changes))

    write_artifact(path, write)
    return path


@dataclass
class Running:
    """A server that answers at `url`; its parts, to look into."""

    port: int
    model: Model
    engine: EngineThread
    served: ServedModel
    server: GracefulServer

    @property
    def url(self) -> str:
        """The address, without a path."""
        return f"http://127.0.0.1:{self.port}"

    def post(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """A request with a JSON body."""
        return httpx.post(self.url + path, json=body, timeout=60, **more)

    def get(self, path: str, **more: Any) -> httpx.Response:
        """A request without a body."""
        return httpx.get(self.url + path, timeout=60, **more)

    def idle(self) -> bool:
        """Whether no sequence is alive in the model."""
        return self.model.engine.store.slots.used == 0


@contextmanager
def serving(
    artifact: Path,
    *,
    keys: Sequence[str] = (),
    limits: RequestLimits = LIMITS,
    scheduling: SchedulingOptions | None = None,
    local_only: bool = False,
    grace: float = 5.0,
    prefix_dir: Path | None = None,
    **loading: Any,
) -> Iterator[Running]:
    """Serve an artifact at a free port of 127.0.0.1 for the time of the block."""
    with ExitStack() as undo:
        chosen = {"batch": 4, "threads": 1} | loading
        model = undo.enter_context(sala_compile.load(artifact, **chosen))
        engine = EngineThread(model.engine, scheduling or SchedulingOptions())
        states = None
        if prefix_dir is not None:
            kept = KeptPrefixes(model, prefix_dir, 1 << 30, engine.wake)
            undo.callback(kept.close, 10.0)
            states = NamedStates(kept, engine, model_digest(model.artifact.manifest))
        served = ServedModel.of(model, engine, states=states)
        undo.callback(served.close)
        guards = Guards(keys, local_only, limits)
        connection = type("Connection", (BoundedConnection,), {"limits": limits})
        app = application(served, guards)
        server = GracefulServer(app, engine, grace, connection)
        sockets = bind("127.0.0.1", 0)
        port = sockets[0].getsockname()[1]
        engine.start()
        thread = threading.Thread(target=lambda: server.run(sockets), daemon=True)
        thread.start()
        try:
            until(lambda: server.started)
            yield Running(port, model, engine, served, server)
        finally:
            server.should_exit = True
            thread.join(60)
            engine.stop()


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something holds; fail if it does not for too long."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.005)


def events(response: httpx.Response | str) -> list[str]:
    """The data of the events of a stream."""
    text = response if isinstance(response, str) else response.text
    return [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
