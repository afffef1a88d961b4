"""One run of sala-serve: load, show what was loaded, answer, end."""

import logging
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import sala_compile
from sala_compile.runtime.cli.bars import weights_bar
from sala_compile.runtime.cli.common import notes
from sala_compile.runtime.cli.serve_screen import Shown, screen
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.model import Model
from sala_compile.runtime.serving.http.application import Guards, application
from sala_compile.runtime.serving.http.graceful_server import GracefulServer, bind, close_all
from sala_compile.runtime.serving.http.key_gate import is_loopback, read_keys
from sala_compile.runtime.serving.http.served_model import ServedModel
from sala_compile.runtime.serving.kept.kept_prefixes import KeptPrefixes
from sala_compile.runtime.serving.kept.named_states import NamedStates
from sala_compile.runtime.serving.scheduling.engine_thread import EngineThread
from sala_compile.runtime.serving.scheduling.scheduling_options import SchedulingOptions
from sala_compile.runtime.state.saving import model_digest
from sala_compile.runtime.text.tokenizer import TOKENIZER_FILE

_LOADED = (
    *("context", "batch", "sequences", "chunk", "memory", "capacity", "prefix_cache", "threads"),
    *("device", "target", "tuning", "verify_key", "speculate"),
)
_WRITE_SECONDS = 10.0
"""How long the end waits for what is to be written to the prefix directory."""
_FILES = 65536
"""Open files that a server asks the system for: each connection is one."""


def serve(options: dict[str, Any]) -> None:
    """Serve until a signal. What is wrong with the options is refused before anything is loaded."""
    console = notes()
    if options["no_prefix_cache"]:
        options = options | {"prefix_cache": None}
    if options["capacity"] is None and options["memory"] is not None:
        options = options | {"capacity": "memory"}
    keys = [] if options["api_key_file"] is None else read_keys(options["api_key_file"])
    _require_tokenizer(options["artifact"])
    _raise_file_limit()
    with ExitStack() as undo:
        sockets = bind(options["host"], options["port"])
        undo.callback(close_all, sockets)
        model = undo.enter_context(
            sala_compile.load(
                options["artifact"],
                progress=weights_bar(console),
                **{name: options[name] for name in _LOADED},
            )
        )
        engine = EngineThread(
            model.engine,
            SchedulingOptions(max_stall=options["max_stall"], queue=options["queue"]),
        )
        states = undo.enter_context(_states(model, engine, options))
        with console.status("preparing the tokenizer"):
            served = ServedModel.of(
                model,
                engine,
                options["model_name"],
                states=states,
                log_prompts=options["log_prompts"],
            )
        undo.callback(served.close)
        guards = Guards(keys, local_only=is_loopback(options["host"]))
        app = application(served, guards)
        engine.start()
        undo.callback(engine.stop)
        address = sockets[0].getsockname()
        shown = Shown(
            options["host"], address[1], len(keys), options["api_key_file"], options["queue"]
        )
        console.print(screen(model, served.name, shown), markup=False, soft_wrap=True)
        _begin_log()
        GracefulServer(app, engine, options["grace"]).run(sockets)
    console.print("ended")


@contextmanager
def _states(
    model: Model, engine: EngineThread, options: dict[str, Any]
) -> Iterator[NamedStates | None]:
    """What is kept on disk, from before the engine begins to after it has ended."""
    if options["prefix_dir"] is None:
        yield None
        return
    kept = KeptPrefixes(model, options["prefix_dir"], options["prefix_dir_size"], engine.wake)
    try:
        yield NamedStates(kept, engine, model_digest(model.artifact.manifest))
    finally:
        kept.close(_WRITE_SECONDS)


def _require_tokenizer(artifact: Path) -> None:
    if artifact.is_dir() and not (artifact / TOKENIZER_FILE).is_file():
        raise RequestError(
            f"{artifact.name} has no tokenizer, and a server answers in text",
            where=str(artifact / TOKENIZER_FILE),
            expected="the file tokenizer.json",
            fix="compile a checkpoint directory that has its tokenizer.json",
        )


def _raise_file_limit() -> None:
    """Ask for as many open files as the system grants without further rights."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _begin_log() -> None:
    """Lines on standard error, as few of the libraries' as help."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for name in ("uvicorn", "uvicorn.error", "sse_starlette", "httptools", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
