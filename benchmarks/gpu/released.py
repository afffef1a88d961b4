"""The released model as calls of GPU kernels, compiled for nothing yet."""

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from typing import Any

from benchmarks.gpu.sizes import RELEASED
from sala_compile.codegen.kernels.registry import family
from sala_compile.codegen.kernels.triton.kernel import GpuKernel
from sala_compile.codegen.lowering import Lowered, lower
from sala_compile.codegen.opening import open_source
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.program.sampling_steps import chosen_kernel, sampling_choice
from sala_compile.codegen.progress import Silent
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.functions import find_function
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.artifact import ElementType
from sala_compile.sala_ir.dialect import KernelCallOp

MATRIX = ("weight", "codes", "scales", "zeros", "factors")
"""Parameters of a kernel that are the values of a matrix, or stand in for them."""
Q4_K = {"bits": 4, "group": 32, "zeros": False, "minima": True, "super": 256}
Q6_K = {"bits": 6, "group": 16, "zeros": False, "minima": False, "super": 256}
GGUF_BLOCKS = {4: Q4_K, 8: Q6_K}
"""Blocks of GGUF files for linears of so many bits, as files named Q4_K_M have them."""


@dataclass(frozen=True, slots=True)
class Call:
    """A kernel and how often a step calls it."""

    kernel: GpuKernel
    family: str
    times: int

    @property
    def matrix_bytes(self) -> float:
        """Bytes of the weights that it multiplies by, and of what stands in for them."""
        found = [p for p in self.kernel.parameters if p.name in MATRIX]
        sizes = (prod(map(int, p.shape)) * ElementType(p.dtype).itemsize for p in found)
        return float(sum(sizes))


def lowered(target: CudaTarget, quantization: Quantization, dtype: Precision) -> Lowered:
    """The module of kernel calls for a target."""
    options = CompileOptions(
        checkpoint=None,
        output=None,
        config_file=RELEASED,
        dry_run=True,
        dtype=dtype,
        quantization=quantization,
    )
    with ExitStack() as stack:
        source = open_source(options, stack)
        return lower(source.captured, target.name, target, options, Silent())


def calls_of(
    model: Lowered, phase: str, blocks: Mapping[int, Mapping[str, Any]] | None = None
) -> list[Call]:
    """The calls of a phase; a decoded token also takes its logits and the choice of the next.

    `blocks` are fields of the specs of linears, by the bits that these have.
    """
    kernels = {kernel.symbol: kernel for kernel in model.kernels}
    times: Counter[str] = Counter()
    for name in (phase, "logits") if phase == "decode" else (phase,):
        func = find_function(model.module, name)
        assert func is not None
        times.update(op.symbol.data for op in func.walk() if isinstance(op, KernelCallOp))
    if phase == "decode":
        sampling = sampling_choice(model.target, _vocabulary(model))
        assert sampling is not None
        chosen = chosen_kernel(sampling)
        kernels[chosen.symbol] = chosen
        times[chosen.symbol] = 1
    found: list[Call] = []
    for symbol, count in times.items():
        name, spec = kernels[symbol].family, dict(kernels[symbol].spec)
        if blocks and name == "linear":
            spec |= blocks.get(spec["bits"], {})
        found.append(Call(family(name, "gpu").build(spec, model.target), name, count))
    return found


def _vocabulary(model: Lowered) -> int:
    import json

    return int(json.loads(RELEASED.read_text())["vocab_size"])
