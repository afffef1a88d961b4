"""A model with the thread that steps it and what is kept of it: the core of every server."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sala_compile
from sala_compile.runtime.common.units import parse_bytes
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.model import Model
from sala_compile.runtime.serving.kept.kept_prefixes import KeptPrefixes
from sala_compile.runtime.serving.kept.named_states import NamedStates
from sala_compile.runtime.serving.scheduling.engine_thread import EngineThread
from sala_compile.runtime.serving.scheduling.scheduling_options import SchedulingOptions
from sala_compile.runtime.state.saving import model_digest
from sala_compile.runtime.text.tokenizer import TOKENIZER_FILE

LOADED = (
    *("context", "batch", "sequences", "chunk", "memory", "capacity", "prefix_cache", "threads"),
    *("device", "speculate"),
)
"""Options of `load` that servers hand on as they are."""
_WRITE_SECONDS = 10.0
"""How long the end waits for what is to be written to the prefix directory."""


@dataclass(frozen=True, slots=True)
class OpenedEngine:
    """What answers: a loaded model, its thread, which has not begun, and the states it keeps."""

    model: Model
    thread: EngineThread
    states: NamedStates | None


@contextmanager
def opened_engine(
    artifact: Path, options: Mapping[str, Any], **loading: Any
) -> Iterator[OpenedEngine]:
    """Load an artifact with the options of sala-serve, by their names; gone after the block.

    The thread is ended by whoever began it, or at the end of the block. Further arguments are
    those of `load`. Errors of `load`; RequestError for an artifact without a tokenizer, and for a
    prefix directory that cannot be used.
    """
    require_tokenizer(artifact)
    chosen = {name: options[name] for name in LOADED}
    if chosen["capacity"] is None and chosen["memory"] is not None:
        chosen["capacity"] = "memory"
    with sala_compile.load(artifact, **chosen, **loading) as model:
        scheduling = SchedulingOptions(max_stall=options["max_stall"], queue=options["queue"])
        thread = EngineThread(model.engine, scheduling)
        kept = None
        if options["prefix_dir"] is not None:
            size = parse_bytes(options["prefix_dir_size"])
            kept = KeptPrefixes(model, options["prefix_dir"], size, thread.wake)
        try:
            digest = model_digest(model.artifact.manifest)
            states = None if kept is None else NamedStates(kept, thread, digest)
            yield OpenedEngine(model, thread, states)
        finally:
            thread.stop()
            if kept is not None:
                kept.close(_WRITE_SECONDS)


def require_tokenizer(artifact: Path) -> None:
    """RequestError for an artifact that reads and writes no text."""
    if artifact.is_dir() and not (artifact / TOKENIZER_FILE).is_file():
        raise RequestError(
            f"{artifact.name} has no tokenizer, and a server answers in text",
            where=str(artifact / TOKENIZER_FILE),
            expected="the file tokenizer.json",
            fix="compile a checkpoint directory that has its tokenizer.json",
        )
