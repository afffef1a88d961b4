"""Which schedules of a linear kernel with integer weights are worth a trial."""

from codegen.kernels.choices import Axis
from codegen.kernels.linear.axes import block_axes
from codegen.kernels.linear_integers.spec import Spec, default_schedule
from codegen.targets.cpu import CpuTarget


def axes(spec: Spec, target: CpuTarget) -> tuple[Axis, ...]:
    """The division into blocks: every sum takes its blocks in order, so no axis changes a bit."""
    return block_axes(default_schedule(spec, target).blocks)
