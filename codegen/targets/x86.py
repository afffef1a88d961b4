"""Names of x86-64 processors and of their instructions, as LLVM and as Linux spell them."""

from functools import cache
from pathlib import Path

INSTRUCTIONS = {
    "sse3": "pni",
    "ssse3": "ssse3",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "popcnt": "popcnt",
    "movbe": "movbe",
    "lzcnt": "abm",
    "bmi": "bmi1",
    "bmi2": "bmi2",
    "avx": "avx",
    "avx2": "avx2",
    "f16c": "f16c",
    "fma": "fma",
    "gfni": "gfni",
    "avxvnni": "avx_vnni",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512cd": "avx512cd",
    "avx512dq": "avx512dq",
    "avx512vl": "avx512vl",
    "avx512ifma": "avx512ifma",
    "avx512vbmi": "avx512vbmi",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512vnni": "avx512_vnni",
    "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512bf16": "avx512_bf16",
    "avx512fp16": "avx512_fp16",
}
"""LLVM feature -> flag of /proc/cpuinfo, for the features that generated code may use."""

AMX = {"amx-tile": "amx_tile", "amx-bf16": "amx_bf16"}
"""LLVM feature -> flag of /proc/cpuinfo of products of tiles of bf16."""

# fmt: off
UNUSED = frozenset((
    "egpr", "ppx", "push2pop2", "ndd", "ccmp", "nf", "cf", "zu", "avx10.1", "avx10.2",
    "fma4", "xop", "tbm", "sse4a", "avxneconvert", "avxifma", "avxvnniint8", "avxvnniint16",
    "cmpccxadd", "raoint", "movrs",
))
# fmt: on
"""LLVM features that generated code gains nothing from: off, so that the flags above say it all."""

BASELINES = ("x86-64-v4", "x86-64-v3", "x86-64-v2", "x86-64")
"""Processors that every sufficiently new machine is, best first."""

BF16_PROCESSORS = ("sapphirerapids", "znver4", "cooperlake")
"""Oldest processors of each family with avx512_bf16."""


@cache
def host_flags() -> frozenset[str]:
    """Return the flags of this machine in /proc/cpuinfo, none if it is absent."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


@cache
def known_processors() -> frozenset[str]:
    """Return every 64-bit x86 processor name that the bundled LLVM compiles for."""
    from tvm.target import Target, codegen

    probe = Target({"kind": "llvm", "mtriple": TRIPLE, "mcpu": "x86-64"})
    return frozenset(
        str(name)
        for name in codegen.llvm_get_cpu_archlist(probe)
        if "64bit" in processor_features(str(name))
    )


@cache
def processor_features(processor: str) -> frozenset[str]:
    """Return LLVM's features of a processor."""
    from tvm.target import Target, codegen

    probe = Target({"kind": "llvm", "mtriple": TRIPLE, "mcpu": processor})
    return frozenset(str(name) for name in codegen.llvm_get_cpu_features(probe))


@cache
def required_flags(processor: str) -> frozenset[str]:
    """Return the /proc/cpuinfo flags that code for a processor may rely on."""
    features = processor_features(processor)
    return frozenset(flag for feature, flag in INSTRUCTIONS.items() if feature in features)


@cache
def amx_flags(processor: str) -> frozenset[str]:
    """Return the /proc/cpuinfo flags of products of bf16 tiles, none if there are none."""
    has = AMX.keys() <= processor_features(processor)
    return frozenset(AMX.values()) if has else frozenset()


@cache
def tuning(processor: str) -> list[str]:
    """Return what LLVM is given about the speed of a processor's instructions.

    It takes the sums of products of pairs apart again, into two instructions of less latency, which
    is slower wherever many sums are under way, as they are in all kernels.
    """
    has_dots = required_flags(processor) & {"avx512_vnni", "avx_vnni"}
    return ["+fast-dpwssd"] if has_dots else []


@cache
def unused(processor: str) -> frozenset[str]:
    """Return the features of a processor that are turned off."""
    return processor_features(processor) & UNUSED


def host_processor() -> str:
    """Return the best processor name whose instructions this machine has.

    LLVM's own detection decides, unless it names instructions that the machine lacks or misses
    avx512_bf16 (virtual machines often report the model of another processor).
    """
    from tvm.target import codegen

    flags = host_flags()
    detected = str(codegen.llvm_get_system_cpu())
    candidates = [detected, *BASELINES]
    if "avx512_bf16" in flags and "avx512_bf16" not in required_flags(detected):
        candidates = [*BF16_PROCESSORS, *candidates]
    for name in candidates:
        if name in known_processors() and required_flags(name) <= flags:
            return name
    return BASELINES[-1]


TRIPLE = "x86_64-unknown-linux-gnu"
"""The triple of every library: it does not depend on how LLVM was built."""
