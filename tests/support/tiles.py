"""Kernels that use AMX tiles, on every processor: by the hardware or by `amx_emulation.c`."""

import ctypes
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.targets.link import find_linker
from tests.support.steps import Library

HOST = CpuTarget.host()
INSTRUCTIONS = r"@llvm\.x86\.(ldtilecfg|tile\w+|tdpbf16ps)"
OPTIONS = ("-O2", "-ftree-vectorize", "-march=native", "-ffp-contract=off", "-shared", "-fPIC")


@dataclass(frozen=True, slots=True)
class EmulatedTiles(CpuTarget):
    """This processor, as if it had AMX."""

    @property
    def has_amx_bf16(self) -> bool:
        """Whether products of tiles of bf16 may be used."""
        return True


EMULATED = EmulatedTiles(HOST.processor)
TARGETS = (EMULATED, HOST) if HOST.has_amx_bf16 else (EMULATED,)
"""Where kernels with tiles are tested."""


def name_of(target: CpuTarget) -> str:
    """How a test's name says where it runs."""
    return "emulated" if isinstance(target, EmulatedTiles) else "hardware"


def tile_library(functions: Sequence[Any], target: CpuTarget) -> Library:
    """Compile kernels; for the emulation their tile instructions become calls of it."""
    if not isinstance(target, EmulatedTiles):
        return Library(functions, target)
    _load_emulation()
    return Library([_emulating(function) for function in functions], HOST)


def _emulating(function: Any) -> Any:
    """The kernel with calls of the emulation in the place of tile instructions."""
    from tvm import ir

    text, count = re.subn(INSTRUCTIONS, r"@emulated_\1", ir.save_json(function))
    assert count, "this kernel uses no tiles"
    return ir.load_json(text)


@cache
def _load_emulation() -> None:
    """Compile the emulation and load it where kernels that are compiled here find it."""
    source = Path(__file__).with_name("amx_emulation.c")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "amx_emulation.so")
        command = [find_linker(), "-x", "c", *OPTIONS, "-o", str(library), str(source)]
        subprocess.run(command, check=True)
        ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
