"""Families of CPU kernels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.family import KernelFamily
from sala_compile.codegen.kernels.tir.builder import KernelBuilder, kernel
from sala_compile.codegen.targets.cpu import CpuTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuFamily(KernelFamily):
    """Kernels that TVM compiles: `emit(builder, spec, schedule)` emits the body of one."""

    emit: Callable[[KernelBuilder, Any, Any], None]

    def _build(self, spec: Any, target: CpuTarget, schedule: Any) -> Any:
        with kernel(spec.symbol, target, self.arguments(spec, schedule)) as builder:
            self.emit(builder, spec, schedule)
        return builder.function
