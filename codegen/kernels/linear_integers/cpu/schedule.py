"""How a linear with integer weights is tiled."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.linear.cpu.schedule import Blocks
from sala_compile.codegen.kernels.linear_integers.cpu.spec import Spec
from sala_compile.codegen.layouts.panels import PANEL_ROWS
from sala_compile.codegen.targets.cpu import CpuTarget


@dataclass(frozen=True, slots=True)
class Schedule(Blocks):
    """Tiles of a kernel, and the sizes that a worker prepares for them.

    `splits`: few rows of x are kept as two bytes of each integer, which bytes of the weight meet
    without being widened. The sums are the same.
    """

    splits: bool = False

    def part_blocks(self, spec: Spec) -> int:
        """Blocks of a part where rows are many."""
        return max(1, min(self.depth, spec.padded_depth) // spec.block)

    def prepared_blocks(self, spec: Spec) -> int:
        """Blocks of x that a worker keeps, of few rows or of many."""
        few = self.few[-1] * (spec.padded_depth // spec.block)
        return max(few, self.rows * self.part_blocks(spec))

    def prepared_values(self, spec: Spec) -> int:
        """Integers of these values."""
        return self.prepared_blocks(spec) * spec.block * spec.terms

    def prepared_sums(self, spec: Spec) -> int:
        """Sums of x of these blocks, of a part of x each: none if nothing needs them."""
        if not (spec.sums_x or self.splits):
            return 0
        return self.prepared_blocks(spec) * spec.spans * (1 if spec.has_minima else spec.terms)

    def panel_values(self, spec: Spec) -> int:
        """Values of a part of a panel that is unpacked."""
        return self.part_blocks(spec) * spec.block * PANEL_ROWS


def default_tiles(spec: Spec, target: CpuTarget) -> Schedule:
    """Return tiles that fit the target's registers.

    Bytes are multiplied so fast that preparing x takes a visible part of the time: more panels
    share it, and parts are longer.
    """
    splits = spec.splits and target.has_byte_dot
    if target.has_avx512:
        streams = 2 if spec.terms == 1 else 1
        if spec.x_bits == 8:
            return Schedule(panels=16, depth=256, streams=streams)
        return Schedule(streams=streams, splits=splits)
    return Schedule(few=(1, 2, 4), heights=(4,), accumulators=4, splits=splits)
