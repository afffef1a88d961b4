"""The CPU as a target: `cpu`, `cpu:x86-64-v3`, `cpu:znver5`."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sala_compile.codegen.targets import x86
from sala_compile.runtime.errors import CompileError

REQUIRED_INSTRUCTIONS = "sala.instructions"
"""Attribute of a PrimFunc: flags of /proc/cpuinfo that it needs beyond those of the target."""

WITHOUT_AMX = "+noamx"
"""End of the name of a target whose processor has AMX that is not to be used."""


@dataclass(frozen=True, slots=True)
class CpuTarget:
    """An x86-64 processor that kernels are compiled for; `processor` is LLVM's name of it.

    `amx` is whether its tiles may be used where it has them: virtual machines often hide them.
    """

    kind: ClassVar[str] = "cpu"
    needs_linker: ClassVar[bool] = True
    maps_weights: ClassVar[bool] = True
    """Whether kernels read the weights' files where they are mapped, shared by all threads."""
    multiplies_integers: ClassVar[bool] = True
    """Whether linears can round their input to integers of 8 bits."""
    samples_tokens: ClassVar[bool] = False
    """Whether a kernel chooses tokens where the logits are."""

    processor: str
    amx: bool = True

    @classmethod
    def parse(cls, text: str) -> "CpuTarget":
        """Read `cpu` (this machine), `cpu:NAME` or `cpu:NAME+noamx`; CompileError for others."""
        kind, _, name = text.partition(":")
        if kind != "cpu":
            raise CompileError(f"unknown target {text!r}", expected="cpu or cpu:PROCESSOR")
        if not name:
            return cls.host()
        amx = not name.endswith(WITHOUT_AMX)
        name = name.removesuffix(WITHOUT_AMX)
        if name not in x86.known_processors():
            raise CompileError(
                f"unknown processor {name!r} in target {text!r}",
                expected="x86-64, x86-64-v2, -v3, -v4, or an x86-64 processor that LLVM knows, "
                "such as skylake, sapphirerapids, znver3, znver5",
                fix="give --target cpu for this machine, or cpu:x86-64-v3 for most machines",
            )
        return cls(name, amx)

    @classmethod
    def host(cls) -> "CpuTarget":
        """Return this machine; raise `CompileError` where it is not an x86-64."""
        if platform.machine() not in ("x86_64", "AMD64"):
            raise CompileError(
                f"this machine is a {platform.machine()}",
                expected="an x86-64 processor",
                fix="name a processor to compile for, such as --target cpu:x86-64-v3",
            )
        processor = x86.host_processor()
        return cls(processor, amx=x86.amx_flags(processor) <= x86.host_flags())

    @property
    def name(self) -> str:
        """The target as a user writes it."""
        return f"cpu:{self.processor}" + ("" if self.amx else WITHOUT_AMX)

    @property
    def instructions(self) -> tuple[str, ...]:
        """Flags of /proc/cpuinfo that code for this target may rely on, sorted.

        Without those of AMX, which few kernels use: see `required_instructions`.
        """
        return tuple(sorted(x86.required_flags(self.processor)))

    @property
    def has_avx512(self) -> bool:
        """Whether a vector register holds 16 floats and there are 32 of them."""
        return "avx512bw" in x86.required_flags(self.processor)

    @property
    def has_avx512_bf16(self) -> bool:
        """Whether dot products of bf16 pairs and roundings to bf16 exist as instructions."""
        return self.has_avx512 and "avx512_bf16" in x86.required_flags(self.processor)

    @property
    def has_fast_bf16_dot(self) -> bool:
        """Whether the dot product of bf16 pairs is faster as an instruction than as multiply-adds.

        It is on AMD's cores. Intel's start one every second cycle and two multiply-adds in every
        cycle; unpacked halves reach 1.3 times its rate there.
        """
        return self.has_avx512_bf16 and self.processor.startswith("znver")

    @property
    def has_amx_bf16(self) -> bool:
        """Whether products of tiles of bf16 may be used."""
        return self.amx and self.has_avx512_bf16 and bool(x86.amx_flags(self.processor))

    @property
    def vector_bits(self) -> int:
        """Bits of the widest registers that hold vectors of integers."""
        flags = x86.required_flags(self.processor)
        return 512 if self.has_avx512 else 256 if "avx2" in flags else 128

    @property
    def has_byte_dot(self) -> bool:
        """Whether four products of bytes are added to 32 bits by one instruction of that width."""
        flag = "avx512_vnni" if self.has_avx512 else "avx_vnni"
        return flag in x86.required_flags(self.processor)

    @property
    def has_f16c(self) -> bool:
        """Whether float16 is widened by an instruction."""
        return "f16c" in x86.required_flags(self.processor)

    @property
    def has_fma(self) -> bool:
        """Whether a multiply-add rounds once."""
        return "fma" in x86.required_flags(self.processor)

    @property
    def runs_here(self) -> bool:
        """Whether this machine has every instruction of the target."""
        tiles = x86.amx_flags(self.processor) if self.amx else frozenset()
        return tiles.union(self.instructions) <= x86.host_flags()

    def llvm(self) -> Any:
        """Return the TVM target."""
        from tvm.target import Target

        masked = x86.unused(self.processor).union(() if self.amx else x86.AMX)
        return Target(
            {
                "kind": "llvm",
                "mtriple": x86.TRIPLE,
                "mcpu": self.processor,
                "opt-level": 3,
                "num-cores": 1,
                "mattr": [f"-{name}" for name in sorted(masked)] + x86.tuning(self.processor),
            }
        )


def required_instructions(functions: Mapping[str, Any], target: CpuTarget) -> tuple[str, ...]:
    """Return the flags of /proc/cpuinfo that a library of these PrimFuncs needs, sorted."""
    flags = set(target.instructions)
    for function in functions.values():
        if function.attrs is not None and REQUIRED_INSTRUCTIONS in function.attrs:
            flags.update(str(function.attrs[REQUIRED_INSTRUCTIONS]).split())
    return tuple(sorted(flags))
