"""MLIR's generic form of a module: what tools read that have never heard of this dialect.

Every operation is `"sala.name"(%operands) {attributes} : types`, properties are attributes, those
with their default are written out, and parameters of types and attributes are attributes of the
builtin dialect. `mlir-opt` takes it with `--allow-unregistered-dialect`, or with `--irdl-file` and
the definition of `sala_ir.irdl_definition`; `parse_module` reads it, and what such a tool prints.
"""

from __future__ import annotations

from dataclasses import asdict
from io import StringIO
from typing import Any, cast

from xdsl.dialects.builtin import ArrayAttr, DenseArrayBase, IntAttr, ModuleOp, StringAttr, i32
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import Attribute, ParametrizedAttribute, TypeAttribute
from xdsl.irdl import EqAttrConstraint, OptionalDef, RangeOf, VarOperandDef, VarResultDef
from xdsl.printer import Printer

from sala_compile.sala_ir.dialect import Sala, SalaOp, StateType
from sala_compile.sala_ir.dialect.attributes import RecordAttr
from sala_compile.sala_ir.dialect.plain import attribute_of, integer
from sala_compile.sala_ir.dialect.sala_op import LLVM_19_SEGMENTS, SEGMENTS

SPREAD = 16
"""Values that a list of unequal types has at most. To IRDL a list is of one type: the definition
has so many optional values instead."""


def is_spread(declared: object) -> bool:
    """Whether an operand or result is a list of values whose types may differ."""
    if isinstance(declared, OptionalDef) or not isinstance(declared, VarOperandDef | VarResultDef):
        return False
    constraint = declared.constr
    return isinstance(constraint, RangeOf) and not isinstance(constraint.constr, EqAttrConstraint)


def print_generic(module: ModuleOp) -> str:
    """The generic form of a module, ending in a newline."""
    module = module.clone()
    for op in module.walk():
        if isinstance(op, SalaOp):
            _write_out(op)
    stream = StringIO()
    _GenericPrinter(stream).print_op(module)
    return stream.getvalue() + "\n"


def _write_out(op: SalaOp) -> None:
    """Write out the properties that have their default, and segments for LLVM 19 too."""
    definition = op.get_irdl_definition()
    for name, declared in definition.properties.items():
        if name not in op.properties and declared.default_value is not None:
            op.properties[name] = declared.default_value
    sides = (definition.operands, op.operands), (definition.results, op.results)
    for name, (declared, values) in zip(SEGMENTS, sides, strict=True):
        if any(is_spread(kind) for _, kind in declared):
            op.attributes[name] = _segments(op, len(values))
        sizes = op.properties.get(name, op.attributes.get(name))
        if sizes is not None:
            op.attributes[LLVM_19_SEGMENTS[name]] = sizes


def _segments(op: SalaOp, count: int) -> Attribute:
    if count > SPREAD:
        raise ValueError(f"{op.name} has {count} values of unequal types, more than {SPREAD}")
    return DenseArrayBase.from_list(i32, [1] * count + [0] * (SPREAD - count))


def generic_parameters(attribute: Attribute) -> tuple[Attribute, ...]:
    """The parameters of a type or attribute of the dialect, in the order of the text form."""
    match attribute:
        case EnumAttribute():
            return (StringAttr(cast(EnumAttribute[Any], attribute).data.value),)
        case RecordAttr():
            values = asdict(cast(RecordAttr[Any], attribute).data).values()
            return tuple(attribute_of(value) for value in values)
        case StateType():
            others = [each for each in attribute.parameters[1:] if not isinstance(each, IntAttr)]
            return (*map(integer, attribute.sizes), attribute.element_type, *others)
        case ParametrizedAttribute():
            return tuple(_generic(each) for each in attribute.parameters)
        case _:
            raise TypeError(f"{attribute.name} has no generic form")


def _generic(parameter: Attribute) -> Attribute:
    """A parameter as an attribute that every tool knows, or as one of the dialect's."""
    match parameter:
        case IntAttr():
            return integer(parameter.data)
        case ArrayAttr():
            return ArrayAttr([_generic(each) for each in parameter.data])
        case EnumAttribute():
            return generic_parameters(parameter)[0]
        case _:
            return parameter


class _GenericPrinter(Printer):
    """Prints operations without their own assembly, and our attributes by their parameters."""

    def __init__(self, stream: StringIO) -> None:
        super().__init__(stream, print_generic_format=True, print_properties_as_attributes=True)

    def print_attribute(self, attribute: Attribute) -> None:
        """Print `#sala.name<parameters>`; any other attribute as xDSL does."""
        if not attribute.name.startswith(f"{Sala.name}."):
            super().print_attribute(attribute)
            return
        parameters = generic_parameters(attribute)
        sigil = "!" if isinstance(attribute, TypeAttribute) else "#"
        self.print_string(f"{sigil}{attribute.name}")
        if parameters:
            with self.in_angle_brackets():
                self.print_list(parameters, self.print_attribute)
