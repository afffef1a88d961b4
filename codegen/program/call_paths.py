"""The attention paths of a model: what its ops do differently for calls of different lengths."""

from xdsl.dialects.builtin import ModuleOp

from sala_compile.runtime.artifact import AttentionPath
from sala_compile.sala_ir.dialect import SalaOp

SINGLE = AttentionPath(first_length=0, name="dense")
"""The path of a model in which no op states one."""


def attention_paths(module: ModuleOp) -> tuple[AttentionPath, ...]:
    """The paths, each from the first call length that takes it.

    Ops of several paths decide where they change, and a path is named after what all of these do
    on it; where every op has one, that is the only one.
    """
    stated = dict.fromkeys(op.paths for op in module.walk() if isinstance(op, SalaOp) and op.paths)
    deciding = [paths for paths in stated if len(paths) > 1] or list(stated)[:1]
    starts = sorted({start for paths in deciding for start, _ in paths})
    found = [AttentionPath(first_length=start, name=_name(start, deciding)) for start in starts]
    return tuple(found) or (SINGLE,)


def _name(length: int, deciding: list[tuple[tuple[int, str], ...]]) -> str:
    """What ops do at a call length, each thing once: `sparse`, or `sparse long-rope`."""
    taken = [max(path for path in paths if path[0] <= length)[1] for paths in deciding]
    return " ".join(dict.fromkeys(taken))
