"""What a kernel that chooses experts is compiled for, and what it is called with."""

from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.arguments import (
    Arguments,
    activation,
    batch,
    given,
    result,
    workspace,
)
from sala_compile.codegen.kernels.operands import column_views, refuse_unless_float32
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.base import columns_of
from sala_compile.sala_ir.dialect.expert_kinds import ScoreFunction
from sala_compile.sala_ir.dialect.experts import RouteOp


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Constants of one kernel: those of `sala.route`, and where the scores are."""

    experts: int
    chosen: int
    function: ScoreFunction
    bias: bool
    groups: int
    chosen_groups: int
    normalised: bool
    eps: float
    scale: float
    scores_start: int
    scores_pitch: int

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        groups = f"_{self.chosen_groups}of{self.groups}" if self.groups > 1 else ""
        return f"route_{self.function}_{self.chosen}of{self.experts}{groups}"


def describe(op: RouteOp, target: object) -> Spec | str:
    """Take scores and a bias of floats."""
    refusal = refuse_unless_float32(scores=op.scores, bias=op.bias, gates=op.gates)
    if refusal:
        return refusal
    own: dict[str, Any] = {**op.parameters, "normalised": bool(op.normalised.value.data)}
    views = column_views(scores=op.scores)
    return Spec(experts=columns_of(op.scores), bias=op.bias is not None, **own, **views)


def arguments(spec: Spec, schedule: object = None) -> Arguments:
    """The arguments of a call; a worker keeps what its token's experts are worth, and are ranked
    by.
    """
    return (
        *batch("control"),
        activation("scores", "f32", spec.scores_pitch),
        given("bias", "f32", padded(spec.experts), when=spec.bias),
        result("experts", "i32", spec.chosen, number=0),
        result("gates", "f32", padded(spec.chosen), number=1),
        workspace("worth", "f32", 2 * padded(spec.experts)),
    )
