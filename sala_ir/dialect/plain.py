"""Plain values to attributes and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any, cast

from xdsl.dialects.builtin import (
    ArrayAttr,
    BoolAttr,
    DenseIntOrFPElementsAttr,
    DictionaryAttr,
    FloatAttr,
    IntAttr,
    IntegerAttr,
    StringAttr,
    TensorType,
    UnitAttr,
    f32,
    f64,
    i1,
    i64,
)
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import Attribute

from sala_compile.sala_ir.attention_sizes import (
    BlockSelection,
    Heads,
    LatentHeads,
    PageRounding,
    StateHeads,
)
from sala_compile.sala_ir.dialect.attributes import (
    Epilogue,
    EpilogueAttr,
    HeadsAttr,
    LatentHeadsAttr,
    PageRoundingAttr,
    SelectionAttr,
    StateHeadsAttr,
)
from sala_compile.sala_ir.dialect.expert_kinds import (
    ExpertActivation,
    ExpertActivationAttr,
    ScoreFunction,
    ScoreFunctionAttr,
)
from sala_compile.sala_ir.dialect.weight_role import WeightRole, WeightRoleAttr

_OWN: dict[type, Callable[[Any], Attribute]] = {
    Epilogue: EpilogueAttr,
    Heads: HeadsAttr,
    LatentHeads: LatentHeadsAttr,
    StateHeads: StateHeadsAttr,
    BlockSelection: SelectionAttr,
    PageRounding: PageRoundingAttr,
    WeightRole: WeightRoleAttr,
    ScoreFunction: ScoreFunctionAttr,
    ExpertActivation: ExpertActivationAttr,
}
"""Types whose attribute is the dialect's own."""


def integer(value: int | IntegerAttr) -> IntegerAttr:
    """An i64 attribute."""
    return value if isinstance(value, IntegerAttr) else _integer(value)


@lru_cache(maxsize=4096)
def _integer(value: int) -> IntegerAttr:
    return IntegerAttr(value, i64)


def floating(value: float | FloatAttr) -> FloatAttr:
    """An f64 attribute."""
    return value if isinstance(value, FloatAttr) else FloatAttr(float(value), f64)


def dense_f32(values: Sequence[float]) -> DenseIntOrFPElementsAttr:
    """A dense attribute `tensor<Nxf32>`."""
    return DenseIntOrFPElementsAttr.from_list(
        TensorType(f32, [len(values)]), [float(value) for value in values]
    )


def dense_i64(values: Sequence[int]) -> DenseIntOrFPElementsAttr:
    """A dense attribute `tensor<Nxi64>`."""
    return DenseIntOrFPElementsAttr.from_list(TensorType(i64, [len(values)]), list(values))


def attribute_of(value: Any) -> Attribute:
    """The attribute of a plain value: bool i1, int i64, float f64, str, sequence, mapping.

    Of an enum or a record of the dialect it is the attribute of that kind.
    """
    own = _OWN.get(type(value))  # pyright: ignore[reportUnknownArgumentType]
    if own is not None:
        return own(value)
    match value:
        case Attribute():
            return value
        case None:
            return UnitAttr()
        case bool():
            return BoolAttr.from_bool(value)
        case int():
            return integer(value)
        case float():
            return floating(value)
        case str():
            return StringAttr(str(value))
        case Mapping():
            pairs = cast(Mapping[Any, Any], value).items()
            return DictionaryAttr({str(key): attribute_of(item) for key, item in pairs})
        case Sequence():
            return ArrayAttr([attribute_of(item) for item in cast(Sequence[Any], value)])
        case _:
            raise TypeError(f"no attribute represents a value of type {type(value).__name__}")


def plain(attribute: Attribute) -> Any:
    """The plain value of an attribute, the inverse of `attribute_of`; sequences become tuples."""
    match attribute:
        case IntegerAttr():
            return bool(attribute.value.data) if attribute.type == i1 else attribute.value.data
        case FloatAttr():
            return attribute.value.data
        case StringAttr() | IntAttr() | EnumAttribute():
            return attribute.data
        case HeadsAttr() | LatentHeadsAttr() | StateHeadsAttr() | SelectionAttr():
            return asdict(attribute.data)
        case DenseIntOrFPElementsAttr():
            return tuple(attribute.get_values())
        case ArrayAttr():
            return tuple(plain(item) for item in attribute.data)
        case DictionaryAttr():
            return {key: plain(item) for key, item in attribute.data.items()}
        case UnitAttr():
            return None
        case _:
            raise TypeError(f"no plain value for {attribute}")
