"""A GPU as a target: `cuda:sm_90` and its relatives."""

import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

from sala_compile.runtime.artifact.architectures import serving
from sala_compile.runtime.errors import CompileError

SHARED_BYTES = {80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}
"""Architecture -> KiB of shared memory that one block may have."""
STACKED = {80: 108, 90: 132, 100: 148}
"""Architecture -> multiprocessors of its GPUs with stacked memory: A100, H200, B200."""


@dataclass(frozen=True, slots=True)
class CudaTarget:
    """GPUs of one architecture: 90 for sm_90 (H100, H200)."""

    kind: ClassVar[str] = "gpu"
    needs_linker: ClassVar[bool] = False
    maps_weights: ClassVar[bool] = False
    multiplies_integers: ClassVar[bool] = False
    samples_tokens: ClassVar[bool] = True

    architecture: int

    @classmethod
    def parse(cls, text: str) -> "CudaTarget":
        """Read `cuda:sm_NN`; CompileError for others, and where Triton is not installed."""
        kind, _, name = text.partition(":")
        known = {f"sm_{number}": number for number in SHARED_BYTES}
        if kind != "cuda" or name not in known:
            raise CompileError(
                f"unknown target {text!r}",
                expected=f"cuda:ARCHITECTURE, one of {', '.join(known)}",
                fix=_advice(name),
            )
        _require_triton(text)
        return cls(known[name])

    @property
    def processor(self) -> str:
        """The architecture as the assembler spells it."""
        return f"sm_{self.architecture}"

    @property
    def name(self) -> str:
        """The target as a user writes it."""
        return f"cuda:{self.processor}"

    @property
    def shared_bytes(self) -> int:
        """Bytes of shared memory that one block may have."""
        return SHARED_BYTES[self.architecture] * 1024

    @property
    def memory_programs(self) -> int:
        """Programs that a launch should have to draw all that memory gives: on stacked memory one
        for each multiprocessor, elsewhere any few.
        """
        return STACKED.get(self.architecture, 1)

    @property
    def multiplies_shared(self) -> bool:
        """Whether matrix instructions take operands of large tiles from shared memory."""
        return self.architecture in (90, 100)


def _advice(name: str) -> str:
    """The architecture whose code the GPUs of another one run, if there is one."""
    numbers = re.fullmatch(r"sm_(\d+)(\d)[af]?", name)
    code = serving((int(numbers[1]), int(numbers[2]))) if numbers else None
    if code is None:
        return "name the architecture of the GPU, such as --target cuda:sm_90"
    return f"GPUs of {name} run the code of {code}: --target cuda:{code}"


def _require_triton(text: str) -> None:
    if find_spec("triton") is None:
        raise CompileError(
            f"Triton is not installed, and the target {text} needs it",
            expected="Triton, which compiles GPU kernels (no GPU is needed)",
            fix="pip install 'sala-compile[compile,gpu]'",
        )
