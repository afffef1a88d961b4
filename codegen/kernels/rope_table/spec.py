"""What a rotary table is compiled for, and what its kernel is called with."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, batch, result
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.rope import RopeTableOp


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Constants of one rotary table: `frequencies` for each range of call lengths, which begin at
    `starts`, and the `factor` of all cosines and sines, times ln(position + log_offset) if that is
    above 0. Positions are those of the tokens plus `position_offset`.
    """

    frequencies: tuple[float, ...]
    factor: float = 1.0
    starts: tuple[int, ...] = (0,)
    log_offset: float = 0.0
    position_offset: int = 0

    @property
    def half(self) -> int:
        """Cosines of a row: half of its columns."""
        return len(self.frequencies) // len(self.starts)

    @property
    def label(self) -> str:
        """The family and the columns of the table, for names."""
        return f"rope_table_{2 * self.half}"


def describe(op: RopeTableOp, target: object) -> Spec:
    """Take every table."""
    return Spec(**op.parameters)


def arguments(spec: Spec, schedule: object = None) -> Arguments:
    """The arguments of a call; call lengths are read if frequencies depend on them."""
    return (
        *batch("control", "token_position"),
        *batch("token_sequence", "call_lengths", when=len(spec.starts) > 1),
        result("table", "f32", padded(2 * spec.half)),
    )
