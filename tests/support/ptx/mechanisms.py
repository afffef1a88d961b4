"""How threads wait in a program, and what works in parallel with them: what a README names."""

import re
from collections.abc import Iterable

from tests.support.ptx.program import Program

MECHANISMS = {
    "barriers": r"bar\.sync|barrier\.",
    "shuffles": r"shfl\.|redux\.|vote\.|match\.",
    "copies": r"cp\.async\.c[ag]",
    "mma": r"mma\.sync",
    "wgmma": r"wgmma\.mma",
    "tcgen05": r"tcgen05\.mma",
    "atomics": r"atom\.|red\.",
    "bulk copies": r"cp\.async\.bulk|cp\.reduce",
    "launches": r"griddepcontrol",
}
"""Names of READMEs -> opcodes. Copies are those of threads (`cp.async`)."""
ALLOWED = frozenset(MECHANISMS) - {"atomics", "bulk copies", "launches"}
"""What the argument in `codegen/kernels/triton/README.md` covers."""


def mechanisms(texts: Iterable[str]) -> tuple[str, ...]:
    """Those of some programs, in the order of MECHANISMS."""
    opcodes = {each.opcode for text in texts for each in Program(text).instructions}
    return tuple(
        name
        for name, pattern in MECHANISMS.items()
        if any(re.match(pattern, opcode) for opcode in opcodes)
    )
