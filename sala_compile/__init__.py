"""Compiles hybrid sparse and linear-attention models and runs them.

    import sala_compile

    with sala_compile.load("NAME.sala") as model:
        print(model.generate("Once upon a time").text)

Its packages are `sala_ir` (the model as a graph), `passes` (module to module), `codegen` (kernels
and the artifact) and `runtime`, which needs none of the three.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sala_compile.runtime.errors import (
        ArtifactError,
        CheckpointError,
        CompileError,
        ConfigError,
        DeviceError,
        MemoryBudgetError,
        RequestError,
        SalaError,
        StateFileError,
    )
    from sala_compile.runtime.loading import load
    from sala_compile.runtime.model import Model
    from sala_compile.runtime.sequence import TokenSequence

__all__ = [
    "ArtifactError",
    "CheckpointError",
    "CompileError",
    "ConfigError",
    "DeviceError",
    "MemoryBudgetError",
    "Model",
    "RequestError",
    "SalaError",
    "StateFileError",
    "TokenSequence",
    "load",
]

_HOMES = {"load": "loading", "Model": "model", "TokenSequence": "sequence"}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: `import sala_compile` itself costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'sala_compile' has no attribute {name!r}")
    home = import_module(f"sala_compile.runtime.{_HOMES.get(name, 'errors')}")
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
