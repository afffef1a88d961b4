"""Families of GPU kernels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.arguments import Arguments, present
from sala_compile.codegen.kernels.family import KernelFamily
from sala_compile.codegen.kernels.triton.kernel import GpuKernel, Launch, Parameter, Slabs
from sala_compile.codegen.targets.cuda import CudaTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFamily(KernelFamily):
    """Kernels that Triton compiles: `launches(spec, schedule, arguments)` are those of one."""

    launches: Callable[[Any, Any, Arguments], tuple[Launch | Slabs, ...]]

    def _build(self, spec: Any, target: CudaTarget, schedule: Any) -> GpuKernel:
        arguments = self.arguments(spec, schedule)
        return GpuKernel(
            spec.symbol,
            tuple(Parameter(each.name, each.dtype, each.shape) for each in present(arguments)),
            self.launches(spec, schedule, arguments),
        )
