"""What the processor of this machine can execute, compared with what a library needs."""

import platform
import re
from collections.abc import Iterable
from pathlib import Path

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
    """The flags in /proc/cpuinfo of this machine; empty where there are none."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(match[1].split()) if match else frozenset()


def architecture() -> str:
    """The instruction set family of this machine, such as x86_64."""
    return platform.machine()


def missing_instructions(needed: Iterable[str], flags: Iterable[str]) -> list[str]:
    """The members of `needed` that `flags` lacks, in order; both spellings are understood."""
    present = {_plain(flag) for flag in flags}
    return [name for name in needed if _plain(name) not in present]


def _plain(name: str) -> str:
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return _LINUX_NAMES.get(plain, plain)
