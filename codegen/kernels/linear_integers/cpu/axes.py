"""Which schedules of a linear kernel with integer weights are worth a trial."""

from sala_compile.codegen.kernels.choices import Axis
from sala_compile.codegen.kernels.linear.cpu.axes import block_axes
from sala_compile.codegen.kernels.linear_integers.cpu.schedule import default_tiles
from sala_compile.codegen.kernels.linear_integers.cpu.spec import Spec
from sala_compile.codegen.targets.cpu import CpuTarget


def axes(spec: Spec, target: CpuTarget) -> tuple[Axis, ...]:
    """The division into blocks: every sum takes its blocks in order, so no axis changes a bit."""
    return block_axes(default_tiles(spec, target))
