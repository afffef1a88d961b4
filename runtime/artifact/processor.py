"""What the processor of this machine can execute, compared with what a library needs."""

import ctypes
import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

from sala_compile.runtime.errors import ArtifactError

TILES = "amx_tile"
"""The flag of the tile registers, which Linux gives to a process only on request."""

_ARCH_PRCTL, _REQUEST_STATE, _TILE_DATA = 158, 0x1023, 18
"""System call, its ARCH_REQ_XCOMP_PERM and XFEATURE_XTILEDATA, on x86-64."""

_LINUX_NAMES = {
    "sse3": "pni",
    "lzcnt": "abm",
    "pclmul": "pclmulqdq",
    "sha": "shani",
    "rdrnd": "rdrand",
    "prfchw": "3dnowprefetch",
    "sahf": "lahflm",
    "x87": "fpu",
    "crc32": "sse42",
    "64bit": "lm",
}
"""Instruction sets whose LLVM name is not the one in /proc/cpuinfo, in plain spelling."""


def processor_flags() -> frozenset[str]:
    """The flags in /proc/cpuinfo of this machine; empty if there are none."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(match[1].split()) if match else frozenset()


def processor_name() -> str:
    """The processor: its model name, and family, model and stepping where the name hides them."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""

    def field(name: str) -> str:
        found = re.search(rf"^{name}\s*: (.*)$", text, re.MULTILINE)
        return found[1] if found else ""

    numbers = " ".join(filter(None, (field("cpu family"), field("model"), field("stepping"))))
    return f"{field('model name') or platform.machine()} ({numbers})"


def architecture() -> str:
    """The instruction set family of this machine, such as x86_64."""
    return platform.machine()


def missing_instructions(needed: Iterable[str], flags: Iterable[str]) -> list[str]:
    """The members of `needed` that are not in `flags`, in order; both spellings are understood."""
    present = {_plain(flag) for flag in flags}
    return [name for name in needed if _plain(name) not in present]


def permit_tiles() -> None:
    """Request the tile registers, for every thread of this process; again at no cost.

    ArtifactError if the system refuses them: a kernel that uses a tile would then be killed.
    """
    system = ctypes.CDLL(None, use_errno=True)
    numbers = (_ARCH_PRCTL, _REQUEST_STATE, _TILE_DATA)
    if system.syscall(*map(ctypes.c_long, numbers)) != 0:
        raise ArtifactError(
            f"the system refuses the tile registers: {os.strerror(ctypes.get_errno())}",
            where="arch_prctl(ARCH_REQ_XCOMP_PERM)",
            expected="Linux 5.16 or newer that lets this process use AMX",
            fix="compile with the target's name followed by +noamx, "
            "such as --target cpu:sapphirerapids+noamx",
        )


def _plain(name: str) -> str:
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return _LINUX_NAMES.get(plain, plain)
