"""The kernels of an artifact that measure the ceilings of a machine.

They are in a library of their own next to that of the target, `lib/cpu-ceilings.so`. All take
(control, memory, result): the control tensor says by its tokens how often the work is repeated.
The read kernel reads its memory once in each repetition; an arithmetic kernel has every worker do
`OPERATIONS` multiplications and additions, and does not touch its memory.
"""

from enum import StrEnum
from pathlib import PurePosixPath

OPERATIONS = 600 << 16
"""Multiplications and additions of one worker in one repetition of an arithmetic kernel."""
READ_MULTIPLE = 4096
"""The memory of the read kernel has a multiple of so many floats."""
RESULT_FLOATS = 1024
"""Floats of `result`, zeros at first, that belong to each worker."""


class Ceiling(StrEnum):
    """A kernel by its symbol."""

    READ = "ceiling_read"
    """Reads float32 [n], n a multiple of `READ_MULTIPLE`, as fast as memory gives it."""
    FLOAT32 = "ceiling_float32"
    """Multiply-adds of float32."""
    BFLOAT16 = "ceiling_bfloat16"
    """Products of bfloat16, where an instruction makes them faster than multiply-adds."""
    INT16 = "ceiling_int16"
    """Sums of products of pairs of 16-bit integers, where weights are integers."""
    INT8 = "ceiling_int8"
    """Sums of products of four bytes, where activations are integers of 8 bits."""


INTEGERS = (Ceiling.INT16, Ceiling.INT8)
MOST_PER_CYCLE = {
    Ceiling.FLOAT32: 64,
    Ceiling.BFLOAT16: 1024,
    Ceiling.INT16: 128,
    Ceiling.INT8: 256,
}
"""Operations of one core in a cycle, on any processor: two vectors of 512 bits; bfloat16 by AMX."""
FASTEST_CLOCK = 6.5e9
"""Cycles per second that no processor reaches on all of its cores."""
ARITHMETIC = {
    "float32": (Ceiling.FLOAT32, *INTEGERS),
    "bfloat16": (Ceiling.BFLOAT16, Ceiling.FLOAT32, *INTEGERS),
}
"""Element type of an artifact -> the kernels that may show its peak: that of the fastest."""


def ceilings_path(library: str) -> str:
    """The path in an artifact of the ceilings that belong to the library of a target."""
    path = PurePosixPath(library)
    return str(path.with_name(f"{path.stem}-ceilings{path.suffix}"))
