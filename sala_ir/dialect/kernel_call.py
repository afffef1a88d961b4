"""The call of a compiled kernel, one per program step."""

from __future__ import annotations

import re

from xdsl.dialects.builtin import (
    ArrayAttr,
    DictionaryAttr,
    IntegerAttr,
    StringAttr,
    SymbolNameConstraint,
)
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    ParsePropInAttrDict,
    irdl_op_definition,
    opt_prop_def,
    prop_def,
    var_operand_def,
    var_result_def,
)

from sala_compile.runtime.artifact.batch_fields import KERNEL_FIELDS
from sala_compile.sala_ir.dialect.base import (
    require,
)
from sala_compile.sala_ir.dialect.plain import plain
from sala_compile.sala_ir.dialect.sala_op import SalaOp
from sala_compile.sala_ir.dialect.state_parts import TABLE
from sala_compile.sala_ir.dialect.types import StateType, WeightType

_POSITION = re.compile(r"(in|out|workspace):(\d+)(?:\.(\w+))?")


def _parts_of(kind: Attribute) -> tuple[str | None, ...]:
    """Names of the tensors that a value of the type consists of; (None,) for a single one."""
    if isinstance(kind, WeightType):
        return kind.encoding.parts or (None,)
    if isinstance(kind, StateType):
        return tuple(part.suffix or None for part in kind.parts)
    return (None,)


@irdl_op_definition
class KernelCallOp(SalaOp):
    """Run a kernel by destination passing.

    `arguments` gives the order of the kernel's parameters: "control", "batch:<field>", "in:<i>",
    "out:<i>", "workspace:<i>"; a state of several tensors is "in:<i>.<suffix>" for each, such as
    "in:<i>.k" and "in:<i>.v". Updated states are results of the call and are
    written in place: `updates` has a pair (result, input) for each. `workspaces` has one dictionary
    per workspace, `spec` what the kernel was built for.
    """

    name = "sala.kernel_call"

    symbol = prop_def(SymbolNameConstraint())
    inputs = var_operand_def()
    family = prop_def(StringAttr)
    arguments = prop_def(ArrayAttr[StringAttr])
    workspaces = opt_prop_def(ArrayAttr[DictionaryAttr], default_value=ArrayAttr([]))
    spec = opt_prop_def(DictionaryAttr, default_value=DictionaryAttr({}))
    updates = opt_prop_def(ArrayAttr[ArrayAttr[IntegerAttr]], default_value=ArrayAttr([]))
    outputs = var_result_def()

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$symbol `(` $inputs `)` attr-dict `:` functional-type($inputs, $outputs)"

    @property
    def state_updates(self) -> dict[SSAValue, SSAValue]:
        """For each updated state, the input that it continues."""
        outputs, inputs = dict(enumerate(self.outputs)), dict(enumerate(self.inputs))
        pairs = plain(self.updates)
        return {outputs[new]: inputs[old] for new, old in pairs if new in outputs and old in inputs}

    def verify_(self) -> None:
        """Every argument and every update names something that the call has."""
        for result, index in plain(self.updates):
            present = 0 <= result < len(self.outputs) and 0 <= index < len(self.inputs)
            require(present, f"{self.name} updates what the call does not have")
            is_state = isinstance(self.outputs[result].type, StateType)
            require(is_state, f"{self.name} updates what is no state")
        for argument in self.arguments.data:
            self._verify_argument(argument.data)

    def _verify_argument(self, argument: str) -> None:
        if argument == "control":
            return
        if argument.startswith("batch:"):
            field = argument.removeprefix("batch:")
            known = field in KERNEL_FIELDS or field.endswith(TABLE)
            require(known, f'kernel argument "{argument}" names no field of the batch')
            return
        found = _POSITION.fullmatch(argument)
        if found is None:
            require(False, f'kernel argument "{argument}" is not understood')
            return
        kind, index, part = found[1], int(found[2]), found[3]
        if kind == "workspace":
            present = index < len(self.workspaces.data) and part is None
            require(present, f'kernel argument "{argument}" names no workspace')
            return
        values = self.inputs if kind == "in" else self.outputs
        require(index < len(values), f'kernel argument "{argument}" names no value of the call')
        parts = _parts_of(values[index].type)
        require(part in parts, f'kernel argument "{argument}" names no tensor of the value')
