"""Mixtures of experts: a router, and the experts that it chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from sala_compile.sala_ir.dialect import (
    ExpertActivation,
    ExpertDownOp,
    ExpertUpOp,
    ResidualAddOp,
    RouteOp,
    ScoreFunction,
    WeightOp,
    WeightRole,
    WeightType,
    columns_of,
    round_up,
)
from sala_compile.sala_ir.dialect.weights import EXPERT_ROWS
from sala_compile.sala_ir.frontends.kit.fields import Refuse
from sala_compile.sala_ir.frontends.kit.step import StepWriter


@dataclass(frozen=True, slots=True)
class Router:
    """How experts are chosen: `sala.route`, and the tensors after the prefix of the layer.

    `bias` is the name of the correction that only decides who is chosen; None if there is none.
    """

    function: ScoreFunction
    chosen: int
    gate: str
    bias: str | None = None
    groups: int = 1
    chosen_groups: int = 1
    normalised: bool = True
    eps: float = 0.0
    scale: float = 1.0

    def emit(self, step: StepWriter, x: SSAValue, count: int) -> tuple[SSAValue, SSAValue]:
        """The numbers and the gates of each token's experts, among `count`."""
        scores = step.linear(x, self.gate, count, role=WeightRole.ROUTING, hint="scores")
        bias = None
        if self.bias is not None:
            bias = step.weight(step.prefix + self.bias, (count,))
        op = RouteOp(
            scores,
            bias,
            function=self.function,
            chosen=self.chosen,
            groups=self.groups,
            chosen_groups=self.chosen_groups,
            normalised=int(self.normalised),
            eps=self.eps,
            scale=self.scale,
            layer=step.layer,
        )
        step.emit(op, "experts", "gates")
        return op.experts, op.gates


@dataclass(frozen=True, slots=True)
class Experts:
    """Experts of `inner` columns; `names` are gate, up and down, or up and down without a gate.

    Tensors are `<prefix of the layer><folder>.experts.<number>.<name>.weight`.
    """

    count: int
    inner: int
    router: Router
    folder: str
    names: Sequence[str] = ("gate_proj", "up_proj", "down_proj")
    limit: float = 0.0

    def emit(self, step: StepWriter, x: SSAValue, routed: SSAValue | None = None) -> SSAValue:
        """What the chosen experts make of x, or of `routed` if that is what they read."""
        experts, gates = self.router.emit(step, x, self.count)
        return self.products(step, x if routed is None else routed, experts, gates)

    def products(
        self, step: StepWriter, x: SSAValue, experts: SSAValue, gates: SSAValue
    ) -> SSAValue:
        """The gated sum of the products of the chosen experts, as wide as x."""
        *gate, up, down = self.names
        columns = columns_of(x)
        opened = ExpertUpOp(
            x,
            experts,
            self._stack(step, up, self.inner, columns),
            self._stack(step, gate[0], self.inner, columns) if gate else None,
            activation=ExpertActivation.SWIGLU if gate else ExpertActivation.SQUARED_RELU,
            limit=self.limit,
            count=self.count,
            layer=step.layer,
        )
        inner = step.emit(opened, "inner")
        closed = ExpertDownOp(
            inner,
            experts,
            gates,
            self._stack(step, down, columns, self.inner),
            result_types=[x.type],
            count=self.count,
            layer=step.layer,
        )
        return step.emit(closed, "routed")

    def _stack(self, step: StepWriter, name: str, rows: int, columns: int) -> SSAValue:
        """The tensors of all experts, one below the other."""
        shape = (self.count * round_up(rows, EXPERT_ROWS), columns)
        op = WeightOp(
            f"{step.prefix}{self.folder}.experts.{name}.weight",
            WeightType(shape, f32),
            experts=self.count,
            expert_rows=rows,
            layer=step.layer,
        )
        return step.emit(op, name.removesuffix("_proj"))


def together(step: StepWriter, shared: SSAValue, routed: SSAValue) -> SSAValue:
    """The sum of what every token takes and what the chosen experts give."""
    return step.emit(ResidualAddOp(shared, routed, layer=step.layer), "mixed")


def check_router(
    refuse: Refuse, count: tuple[str, int], chosen: tuple[str, int], groups: int, chosen_groups: int
) -> None:
    """The groups divide the experts and hold the chosen ones; fields by name with their values."""
    (name, experts), (taken, wanted) = count, chosen
    if groups < 1 or experts % groups or (groups > 1 and experts // groups < 2):
        fix = "correct the number of groups"
        raise refuse(name, experts, f"{groups} groups of at least two experts", fix)
    if not 0 < chosen_groups <= groups:
        raise refuse("topk_group", chosen_groups, f"1 to {groups}", "correct the field")
    room = experts // groups * chosen_groups
    if not 0 < wanted <= room:
        raise refuse(taken, wanted, f"1 to {room}, the experts to choose from", "correct the field")
