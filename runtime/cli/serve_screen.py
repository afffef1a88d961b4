"""What sala-serve shows once it can answer: what was loaded, and where."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from sala_compile.runtime.artifact.dims import Symbol
from sala_compile.runtime.common.units import format_bytes, format_tokens
from sala_compile.runtime.model import Model
from sala_compile.runtime.plan import memory_sentence

_LENGTHS = (1 << 12, 1 << 15, 1 << 18, 1 << 20)


@dataclass(frozen=True, slots=True)
class Shown:
    """Where the server listens, to how many keys of which file, and how many requests may wait."""

    host: str
    port: int
    keys: int
    key_file: Path | None
    queue: int


def screen(model: Model, name: str, shown: Shown) -> str:
    """The lines."""
    info, manifest = model.info(), model.artifact.manifest
    host = f"[{shown.host}]" if ":" in shown.host else shown.host
    address = f"http://{host}:{shown.port}"
    rows = {
        "model": f"{name}: {manifest.model.family}, {manifest.dtype}, "
        f"attention {manifest.attention}, target {info['target']}, {info['device']}",
        "memory": memory_sentence(model.plan),
        "requests": _requests(model, shown.queue),
        "prefixes": _prefixes(model),
        "keys": f"{shown.keys} of {shown.key_file}" if shown.keys else _open(shown.host),
        "API": f"{address}/v1",
        "page": f"{address}/   Ctrl-C ends",
    }
    lines = [f"{label:<9} {text}" for label, text in rows.items() if text]
    lines += [f"{'note':<9} {note}" for note in model.notes]
    return "\n".join([f"sala-serve {version('sala-compile')}", *lines])


def _requests(model: Model, queue: int) -> str:
    """How many requests of which length there is memory for."""
    sizes = model.plan.sizes
    held = model.plan.symbols[Symbol.PAGES] * model.artifact.program.paging.page_tokens
    counts = {
        length: min(sizes.batch, held // length)
        for length in (*(each for each in _LENGTHS if each < sizes.context), sizes.context)
    }
    fits = ", ".join(f"{count} of {format_tokens(length)}" for length, count in counts.items())
    return f"at a time {fits} tokens; {queue} may wait"


def _prefixes(model: Model) -> str:
    cache = model.engine.prefix
    if cache is None:
        return "none are kept (--prefix-cache)"
    return f"{format_bytes(cache.info()['bytes'])}"


def _open(host: str) -> str:
    return f"none: whoever reaches {host} may ask (--api-key-file)"
