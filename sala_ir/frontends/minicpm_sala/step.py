"""The function `@step` while it is being written: arguments, weights, ops in order."""

from __future__ import annotations

from dataclasses import dataclass, field

from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, ModuleOp, StringAttr, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from sala_compile.sala_ir.dialect import MakeBatchOp, WeightOp, WeightType, ids_type
from sala_compile.sala_ir.dialect.batch import STEP_INPUTS
from sala_compile.sala_ir.dialect.types import StateType


@dataclass(slots=True)
class StepWriter:
    """Appends ops to the body of `@step`; `layer` marks what is emitted from now on."""

    shapes: dict[str, tuple[int, ...]]
    body: Block = field(default_factory=Block)
    layer: int | None = None
    arguments: dict[str, SSAValue] = field(default_factory=dict)
    updated: dict[str, SSAValue] = field(default_factory=dict)
    _weights: dict[str, SSAValue] = field(default_factory=dict)

    def argument(self, name: str, kind: Attribute) -> SSAValue:
        """A new argument of the function, known as `name` (its attribute `sala.name`)."""
        value = self.body.insert_arg(kind, len(self.body.args))
        value.name_hint = name.replace(".", "_")
        self.arguments[name] = value
        return value

    def inputs(self) -> None:
        """The arguments of a step before its states: the fields of the batch."""
        for name in STEP_INPUTS:
            self.argument(name, ids_type())

    def batch(self) -> SSAValue:
        """The batch, from the arguments of the step; the page tables of its states become some."""
        kinds = [v.type for v in self.arguments.values() if isinstance(v.type, StateType)]
        pages = [kind.numbering for kind in kinds if kind.numbering is not None]
        tables = [
            self.argument(name, ids_type(2)) for name in dict.fromkeys(p.table for p in pages)
        ]
        return self.emit(MakeBatchOp(self.arguments, tables), "batch")

    def emit(self, op: Operation, *hints: str) -> SSAValue:
        """Append an op, name its results in the text, and give back the first of them."""
        self.body.add_op(op)
        for result, hint in zip(op.results, hints, strict=False):
            result.name_hint = hint
        return op.results[0]

    def weight(self, name: str) -> SSAValue:
        """The weight of that tensor, the same value whenever it is asked for."""
        if name not in self._weights:
            op = WeightOp(name, WeightType(self.shapes[name], f32), layer=self.layer)
            self._weights[name] = self.emit(op, *name.split(".")[-2:-1])
        return self._weights[name]

    def optional_weight(self, name: str) -> SSAValue | None:
        """The weight of that tensor, or None where the model has no such tensor."""
        return self.weight(name) if name in self.shapes else None

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
