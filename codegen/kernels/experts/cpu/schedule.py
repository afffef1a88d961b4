"""How a kernel of experts is tiled: as the linear that one expert is."""

from sala_compile.codegen.kernels.arguments import Arguments, workspace
from sala_compile.codegen.kernels.experts.spec import Spec
from sala_compile.codegen.kernels.linear.cpu.schedule import Blocks, Vectors
from sala_compile.codegen.kernels.linear_integers.cpu import kernel as integers_kernel
from sala_compile.codegen.kernels.linear_integers.cpu import schedule as integers_schedule
from sala_compile.codegen.kernels.linear_integers.cpu import spec as integers
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cpu import CpuTarget

IntegerBlocks = integers_schedule.Schedule
Schedule = Vectors | Blocks | IntegerBlocks
"""Tiles of a kernel."""


def default_tiles(spec: Spec, target: CpuTarget) -> Schedule:
    """The tiles of the linear; AMX tiles, which take whole matrices, are left to linears."""
    one = spec.one
    if isinstance(one, integers.Spec):
        return integers_schedule.default_tiles(one, target)
    if spec.weight is Element.BF16 and target.has_fast_bf16_dot:
        return Vectors()
    if target.has_avx512:
        return Blocks(depth=64, streams=2)
    return Blocks(few=(1, 2, 4, 6), depth=64, accumulators=6)


def block_rows(schedule: Schedule) -> int:
    """Rows of an expert that are taken at a time."""
    return schedule.block_rows if isinstance(schedule, Vectors) else schedule.rows


def group_panels(schedule: Schedule) -> int:
    """Panels that are taken at a time, at most."""
    return 8 if isinstance(schedule, Vectors) else schedule.panels


def streams(spec: Spec, schedule: Schedule) -> int:
    """Panels that a single row takes at once."""
    if isinstance(schedule, Vectors) or spec.panels % schedule.streams:
        return 1
    return schedule.streams


def workspaces(spec: Spec, schedule: Schedule) -> Arguments:
    """What a worker keeps of the rows of an expert."""
    one = spec.one
    if isinstance(one, integers.Spec):
        assert isinstance(schedule, IntegerBlocks), "tiles of integers"
        return integers_kernel.workspaces(one, schedule)
    sums = (workspace("sums", "f32", schedule.workspace(one)),)
    if isinstance(schedule, Vectors):
        rows = block_rows(schedule) * padded(spec.depth)
        return (*sums, workspace("x_rows", spec.weight, rows))
    return sums
