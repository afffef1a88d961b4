"""Machines that code is generated for: what they have, how to compile, how to write a library."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.runtime.artifact import is_gpu
from sala_compile.runtime.errors import CompileError

Target = CpuTarget | CudaTarget
"""A machine; `kind` names the modules of the kernel folders that serve it."""

_KINDS: dict[str, type[CpuTarget] | type[CudaTarget]] = {"cpu": CpuTarget, "cuda": CudaTarget}


def parse_target(text: str) -> Target:
    """Read `cpu`, `cpu:PROCESSOR` or `cuda:ARCHITECTURE`; CompileError for others."""
    kind = _KINDS.get(text.partition(":")[0])
    if kind is None:
        raise CompileError(
            f"unknown target {text!r}",
            expected="cpu, cpu:PROCESSOR or cuda:ARCHITECTURE",
            fix="give, for instance, --target cpu or --target cuda:sm_90",
        )
    return kind.parse(text)


def split_targets(texts: Iterable[str]) -> tuple[str, ...]:
    """The names in comma lists, each once: `cuda:sm_90,sm_120` is two of kind cuda."""
    return tuple(dict.fromkeys(name for text in texts for name in _split(text)))


def _split(text: str) -> Iterator[str]:
    kind = ""
    for piece in text.split(","):
        named, _, rest = piece.partition(":")
        if rest or named in _KINDS:
            kind = named
            yield piece
        else:
            yield f"{kind}:{piece}" if kind else piece


def library_name(target: str) -> str:
    """The path of a target's library in the artifact; of a GPU's, the table of its cubins."""
    suffix = ".json" if is_gpu(target) else ".so"
    return f"lib/{target.replace(':', '-')}{suffix}"


def cubins_name(target: str) -> str:
    """The path of the code of a GPU's library."""
    return str(Path(library_name(target)).with_suffix(".cubins"))
