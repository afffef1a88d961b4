"""The dialect's definition in IRDL, with which MLIR's own tools check a module's generic form.

It is made from the classes of the dialect. IRDL says of an operation how many operands and results
it has, of which types, which of them are equal, and which attributes it needs. It cannot say what
the parameters of builtin types are: `parse_module` checks rows, columns and elements of tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from io import StringIO
from typing import Any

from xdsl.builder import Builder
from xdsl.dialects import irdl
from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseArrayBase,
    DenseIntOrFPElementsAttr,
    FloatAttr,
    IntAttr,
    IntegerAttr,
    StringAttr,
    SymbolNameConstraint,
    SymbolRefAttr,
)
from xdsl.dialects.irdl.irdl import VariadicityArrayAttr, VariadicityAttr
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import Attribute, Block, Dialect, Region, SSAValue, TypeAttribute
from xdsl.irdl import (
    AnyOf,
    BaseAttr,
    EqAttrConstraint,
    OptionalDef,
    OptPropertyDef,
    ParamAttrConstraint,
    ParametrizedAttribute,
    RangeLengthConstraint,
    RangeOf,
    VarConstraint,
    VariadicDef,
)
from xdsl.printer import Printer
from xdsl.rewriter import InsertPoint

from sala_compile.sala_ir.dialect import Sala
from sala_compile.sala_ir.dialect.attributes import RecordAttr
from sala_compile.sala_ir.dialect.sala_op import SEGMENTS, SalaOp
from sala_compile.sala_ir.dialect.types import ELEMENTS, StateType
from sala_compile.sala_ir.generic_form import SPREAD, is_spread


def print_irdl(dialect: Dialect = Sala) -> str:
    """The definition as text: `irdl.dialect @sala { ... }`."""
    block = Block()
    builder = Builder(InsertPoint.at_end(block))
    for attribute in dialect.attributes:
        builder.insert(_attribute_definition(dialect, attribute))
    for operation in dialect.operations:
        builder.insert(_operation_definition(dialect, operation))
    stream = StringIO()
    Printer(stream).print_op(irdl.DialectOp(dialect.name, Region([block])))
    return stream.getvalue() + "\n"


class _Constraints:
    """Constraints in the body of one definition; one value stands for equal attributes."""

    def __init__(self, dialect: Dialect) -> None:
        self.block = Block()
        self._dialect = dialect
        self._builder = Builder(InsertPoint.at_end(self.block))
        self._variables: dict[str, SSAValue] = {}

    def insert(self, op: irdl.ParametersOp | irdl.AttributesOp | irdl.OperandsOp | irdl.ResultsOp):
        """Add the statement that uses constraints."""
        self._builder.insert(op)

    def one_of(self, values: Iterable[Attribute]) -> SSAValue:
        """One of a few attributes."""
        return self._any_of([self._is(value) for value in values])

    def of(self, constraint: object) -> SSAValue:
        """A constraint of the dialect's classes, or as much of it as IRDL can say."""
        match constraint:
            case RangeLengthConstraint(constraint=inner):
                return self.of(inner)
            case RangeOf(constr=inner):
                return self.of(inner)
            case VarConstraint(name=name, constraint=inner):
                if name not in self._variables:
                    self._variables[name] = self.of(inner)
                return self._variables[name]
            case AnyOf(attr_constrs=several):
                return self._any_of([self.of(each) for each in several])
            case EqAttrConstraint(attr=attribute):
                return self._is(attribute)
            case BaseAttr(attr=kind) | ParamAttrConstraint(base_attr=kind):
                return self._base(kind)
            case SymbolNameConstraint():
                return self._base(StringAttr)
            case _:
                return self._builder.insert(irdl.AnyOp()).output

    def _is(self, attribute: Attribute) -> SSAValue:
        if type(attribute) in self._dialect.attributes:
            return self._base(type(attribute))
        return self._builder.insert(irdl.IsOp(attribute)).output

    def _any_of(self, several: Sequence[SSAValue]) -> SSAValue:
        return self._builder.insert(irdl.AnyOfOp(several)).output

    def _base(self, kind: type[Attribute]) -> SSAValue:
        if kind in self._dialect.attributes:
            place: Any = SymbolRefAttr(self._dialect.name, [Dialect.split_name(kind.name)[1]])
        elif kind in (DenseIntOrFPElementsAttr, DenseArrayBase):  # releases call them differently
            return self._builder.insert(irdl.AnyOp()).output
        else:
            sigil = "!" if issubclass(kind, TypeAttribute) else "#"
            place = f"{sigil}builtin.{kind.name}"
        return self._builder.insert(irdl.BaseOp(place)).output


def _attribute_definition(
    dialect: Dialect, kind: type[Attribute]
) -> irdl.TypeOp | irdl.AttributeOp:
    """A type or attribute with its parameters, in the order of `generic_parameters`."""
    body = _Constraints(dialect)
    parameters = dict(_parameters(body, kind))
    if parameters:
        names = ArrayAttr([StringAttr(name) for name in parameters])
        body.insert(irdl.ParametersOp(tuple(parameters.values()), names))
    define = irdl.TypeOp if issubclass(kind, TypeAttribute) else irdl.AttributeOp
    return define(Dialect.split_name(kind.name)[1], Region([body.block]))


def _parameters(body: _Constraints, kind: type[Any]) -> Iterable[tuple[str, SSAValue]]:
    if issubclass(kind, EnumAttribute):
        yield "value", body.one_of(StringAttr(item.value) for item in kind.enum_type)
    elif issubclass(kind, RecordAttr):
        for field in fields(kind.record):
            is_whole = field.type in (int, "int")
            yield field.name, body.of(BaseAttr(IntegerAttr if is_whole else FloatAttr))
    else:
        declared = kind.get_irdl_definition().parameters
        if issubclass(kind, StateType):
            element, *rest = declared
            sizes = [each for each in rest if each[1].constr == BaseAttr(IntAttr)]
            declared = [*sizes, element, *(each for each in rest if each not in sizes)]
        for name, parameter in declared:
            yield name, _parameter(body, name, parameter.constr)


def _parameter(body: _Constraints, name: str, constraint: object) -> SSAValue:
    if name == "element_type":
        return body.one_of(ELEMENTS)
    match constraint:
        case BaseAttr(attr=kind) if kind is IntAttr:
            return body.of(BaseAttr(IntegerAttr))
        case BaseAttr(attr=kind) if issubclass(kind, EnumAttribute):
            return body.one_of(StringAttr(item.value) for item in kind.enum_type)
        case BaseAttr(attr=kind) if issubclass(kind, ParametrizedAttribute | RecordAttr):
            return body.of(constraint)
        case _:
            return body.of(BaseAttr(ArrayAttr))


def _operation_definition(dialect: Dialect, kind: type[Any]) -> irdl.OperationOp:
    """An operation: its operands, its results, and the attributes that the generic form has."""
    body, definition = _Constraints(dialect), kind.get_irdl_definition()
    given, made = _spread(definition.operands), _spread(definition.results)
    operands = {name: body.of(declared.constr) for name, declared in given}
    continued = dict(kind.CONTINUES) if issubclass(kind, SalaOp) else {}
    results = {
        name: operands[continued[name]] if name in continued else body.of(declared.constr)
        for name, declared in made
    }
    if operands:
        body.insert(irdl.OperandsOp(*_values(operands, given)))
    if results:
        body.insert(irdl.ResultsOp(*_values(results, made)))
    needed = {
        name: body.of(declared.constr)
        for name, declared in definition.properties.items()
        if name not in SEGMENTS
        and not (isinstance(declared, OptPropertyDef) and declared.default_value is None)
    }
    if needed:
        body.insert(irdl.AttributesOp.get(needed))
    return irdl.OperationOp(Dialect.split_name(kind.name)[1], Region([body.block]))


def _spread(declared: Sequence[tuple[str, Any]]) -> Sequence[tuple[str, Any]]:
    """Operands or results, with lists of unequal types as so many optional values."""
    found: list[tuple[str, Any]] = []
    for name, kind in declared:
        several = [f"{name}_{index}" for index in range(SPREAD)] if is_spread(kind) else [name]
        found += [(each, kind) for each in several]
    return found


def _values(
    constraints: dict[str, SSAValue], declared: Sequence[tuple[str, object]]
) -> tuple[Sequence[SSAValue], VariadicityArrayAttr, ArrayAttr[StringAttr]]:
    """Constraints, how often each occurs, and names, as the statements take them."""
    counts = [_count(kind) for _, kind in declared]
    names = ArrayAttr([StringAttr(name) for name in constraints])
    return list(constraints.values()), VariadicityArrayAttr(ArrayAttr(counts)), names


def _count(declared: object) -> VariadicityAttr:
    if isinstance(declared, OptionalDef) or is_spread(declared):
        return VariadicityAttr.OPTIONAL
    return VariadicityAttr.VARIADIC if isinstance(declared, VariadicDef) else VariadicityAttr.SINGLE
