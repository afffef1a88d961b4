"""The function `@step` while it is being written: arguments, weights, ops in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, ModuleOp, StringAttr, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from sala_compile.sala_ir.dialect import (
    LinearOp,
    MakeBatchOp,
    OffsetWeightOp,
    OutputGateOp,
    RmsNormOp,
    RopeOp,
    RopeTableOp,
    ScaleWeightOp,
    SliceWeightOp,
    WeightOp,
    WeightRole,
    WeightType,
    columns_of,
    ids_type,
)
from sala_compile.sala_ir.dialect.batch import STEP_INPUTS
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.kit.rotary import Rotary


def states_by_layer(layers: Iterable[Mapping[str, StateType]]) -> dict[str, StateType]:
    """The states of a step by their names, from those of each layer by kind."""
    return {
        _state_name(layer, kind): state
        for layer, kinds in enumerate(layers)
        for kind, state in kinds.items()
    }


def _state_name(layer: int | None, kind: str) -> str:
    return f"layers.{layer}.{kind}"


@dataclass(slots=True)
class StepWriter:
    """Appends ops to the body of `@step`; all activations are f32 [tokens, columns].

    `layer` marks what is emitted from now on, and names of tensors begin with its `prefix`.
    """

    root: str = "model."
    body: Block = field(default_factory=Block)
    layer: int | None = None
    arguments: dict[str, SSAValue] = field(default_factory=dict[str, SSAValue])
    updated: dict[str, SSAValue] = field(default_factory=dict[str, SSAValue])
    _weights: dict[str, SSAValue] = field(default_factory=dict[str, SSAValue])

    @property
    def prefix(self) -> str:
        """What the names of the tensors of the layer begin with; of the model outside of them."""
        return self.root if self.layer is None else f"{self.root}layers.{self.layer}."

    def argument(self, name: str, kind: Attribute) -> SSAValue:
        """A new argument of the function, known as `name` (its attribute `sala.name`)."""
        value = self.body.insert_arg(kind, len(self.body.args))
        value.name_hint = name.replace(".", "_")
        self.arguments[name] = value
        return value

    def begin(self, states: Mapping[str, StateType]) -> SSAValue:
        """Declare the inputs of a step, its page tables and its states; the batch."""
        for name in STEP_INPUTS:
            self.argument(name, ids_type())
        pages = [kind.numbering for kind in states.values() if kind.numbering is not None]
        names = dict.fromkeys(numbering.table for numbering in pages)
        tables = [self.argument(name, ids_type(2)) for name in names]
        for name, kind in states.items():
            self.argument(name, kind)
        return self.emit(MakeBatchOp(self.arguments, tables), "batch")

    def emit(self, op: Operation, *hints: str) -> SSAValue:
        """Append an op, name its results in the text, and give back the first of them."""
        self.body.add_op(op)
        for result, hint in zip(op.results, hints, strict=False):
            result.name_hint = hint
        return op.results[0]

    def state(self, kind: str) -> SSAValue:
        """The state of that kind of the layer, as an argument of the step."""
        return self.arguments[_state_name(self.layer, kind)]

    def update(self, **states: SSAValue) -> None:
        """The next values of states of the layer, by kind."""
        self.updated |= {_state_name(self.layer, kind): value for kind, value in states.items()}

    def weight(
        self, name: str, shape: Sequence[int], role: WeightRole = WeightRole.PROJECTION
    ) -> SSAValue:
        """The tensor of that whole name, the same value whenever it is asked for."""
        if name not in self._weights:
            op = WeightOp(name, WeightType(tuple(shape), f32), role=role, layer=self.layer)
            folder, _, own = name.rpartition(".")
            hint = folder.rpartition(".")[2]
            self._weights[name] = self.emit(op, own if hint.isdecimal() else hint)
        return self._weights[name]

    def rows(self, weight: SSAValue, start: int, size: int, period: int = 0) -> SSAValue:
        """Rows of a weight, or of every `period` rows of it."""
        op = SliceWeightOp(weight, start=start, size=size, period=period, layer=self.layer)
        return self.emit(op, "rows")

    def product(
        self, x: SSAValue, weight: SSAValue, hint: str, *, bias: SSAValue | None = None
    ) -> SSAValue:
        """x W^T (+ b) of weights that are no whole tensors."""
        return self.emit(LinearOp(x, weight, bias=bias, layer=self.layer), hint)

    def linear(
        self,
        x: SSAValue,
        name: str,
        rows: int,
        *,
        bias: bool = False,
        role: WeightRole = WeightRole.PROJECTION,
        scale: float = 1.0,
        hint: str | None = None,
    ) -> SSAValue:
        """scale x W^T (+ b), W [rows, columns of x] the tensor `<prefix><name>.weight`."""
        tensor = self.prefix + name
        weight = self.weight(f"{tensor}.weight", (rows, columns_of(x)), role)
        vector = self.weight(f"{tensor}.bias", (rows,)) if bias else None
        op = LinearOp(x, weight, bias=vector, scale=scale, layer=self.layer)
        return self.emit(op, hint or name.rpartition(".")[2].removesuffix("_proj"))

    def norm(
        self,
        x: SSAValue,
        name: str,
        eps: float,
        group: int | None = None,
        groups: int = 1,
        offset: float = 0.0,
        scale: float = 1.0,
        hint: str = "normal",
    ) -> SSAValue:
        """RMS norm of every `group` of columns, by default of all of them, times `scale`.

        The weight is that of one group, or of so many `groups`, stored less `offset`.
        """
        group = group or columns_of(x)
        weight = self.weight(f"{self.prefix}{name}.weight", (group * groups,))
        if offset:
            weight = self.emit(OffsetWeightOp(weight, offset=offset, layer=self.layer), "scale")
        if scale != 1.0:
            weight = self.emit(ScaleWeightOp(weight, factor=scale, layer=self.layer), "scale")
        return self.emit(RmsNormOp(x, weight, eps=eps, groups=groups, layer=self.layer), hint)

    def gate(self, x: SSAValue, mixed: SSAValue, name: str, *, bias: bool = False) -> SSAValue:
        """The output of a mixer times sigmoid of a linear of its input."""
        rows = columns_of(mixed)
        gate = self.linear(x, name, rows, bias=bias, role=WeightRole.OUTPUT_GATE, hint="gate")
        return self.emit(OutputGateOp(mixed, gate, layer=self.layer), "gated")

    def rope_table(self, batch: SSAValue, rotary: Rotary) -> SSAValue:
        """The cosines and sines of the step's positions."""
        return self.emit(RopeTableOp(batch, **asdict(rotary)), "rope_table")

    def rotate(
        self,
        x: SSAValue,
        table: SSAValue | None,
        head_dim: int,
        *,
        start: int = 0,
        interleaved: bool = False,
    ) -> SSAValue:
        """Every head rotated, from dimension `start` on; x itself without a table.

        `interleaved`: the pairs are neighbours.
        """
        if table is None:
            return x
        op = RopeOp(
            x,
            table,
            head_dim=head_dim,
            start=start,
            interleaved=int(interleaved),
            layer=self.layer,
        )
        return self.emit(op, x.name_hint or "rotated")

    def finish(self, logits: SSAValue) -> ModuleOp:
        """Return logits and every state in the order of the arguments."""
        states = [
            self.updated.get(name, value)
            for name, value in self.arguments.items()
            if isinstance(value.type, StateType)
        ]
        results = [logits, *states]
        self.body.add_op(ReturnOp(*results))
        func = FuncOp(
            "step",
            ([arg.type for arg in self.body.args], [value.type for value in results]),
            Region([self.body]),
            arg_attrs=ArrayAttr(
                [DictionaryAttr({"sala.name": StringAttr(name)}) for name in self.arguments]
            ),
        )
        return ModuleOp([func])
