"""One run of sala-serve: load, show what was loaded, answer, end."""

import logging
import resource
from contextlib import ExitStack, suppress
from typing import Any

from sala_compile.runtime.cli.bars import weights_bar
from sala_compile.runtime.cli.common import notes
from sala_compile.runtime.cli.serve_screen import Shown, screen
from sala_compile.runtime.serving.http.application import Guards, application
from sala_compile.runtime.serving.http.graceful_server import GracefulServer, bind, close_all
from sala_compile.runtime.serving.http.key_gate import is_loopback, read_keys
from sala_compile.runtime.serving.http.served_model import ServedModel
from sala_compile.runtime.serving.opened_engine import opened_engine, require_tokenizer

_FILES = 65536
"""Open files that a server asks the system for: each connection is one."""


def serve(options: dict[str, Any]) -> None:
    """Serve until a signal. What is wrong with the options is refused before anything is loaded."""
    console = notes()
    if options["no_prefix_cache"]:
        options = options | {"prefix_cache": None}
    keys = [] if options["api_key_file"] is None else read_keys(options["api_key_file"])
    require_tokenizer(options["artifact"])
    _raise_file_limit()
    with ExitStack() as undo:
        sockets = bind(options["host"], options["port"])
        undo.callback(close_all, sockets)
        more = {name: options[name] for name in ("target", "tuning", "verify_key")}
        opened = undo.enter_context(
            opened_engine(options["artifact"], options, progress=weights_bar(console), **more)
        )
        model, engine = opened.model, opened.thread
        with console.status("preparing the tokenizer"):
            served = ServedModel.of(
                model,
                engine,
                options["model_name"],
                states=opened.states,
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
