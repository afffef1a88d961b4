"""Identity and names of weight expressions: equal expressions are one stored tensor."""

from collections.abc import Sequence

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from sala_compile.sala_ir.dialect import (
    ConcatWeightsOp,
    InterleaveWeightsOp,
    LayoutAttr,
    PackWeightOp,
    WeightOp,
    WeightType,
    weight_type,
)

_SEPARATORS = {ConcatWeightsOp.name: "+", InterleaveWeightsOp.name: "|"}
"""What joins the names of the parts."""


def weight_key(value: SSAValue) -> str:
    """A text that is equal for values that hold the same numbers in the same layout.

    Weights are values of one function; phases share them by this key.
    """
    op = value.owner
    assert isinstance(op, Operation), "weights are results of weight-side operations"
    if isinstance(op, WeightOp):
        encoding = weight_type(value).encoding  # the values of integers are another weight
        return f"@{op.tensor_name.data}" + ("" if encoding.is_plain else f": {encoding.label}")
    options = "".join(f" {name}={value}" for name, value in sorted(op.properties.items()))
    operands = ", ".join(weight_key(operand) for operand in op.operands)
    return f"{op.name}({operands}){options}: {value.type}"


def weight_name(value: SSAValue) -> str:
    """A readable name: the checkpoint's, with joined parts as `q_proj+k_proj`, layout appended."""
    op = value.owner
    if isinstance(op, WeightOp):
        return op.tensor_name.data
    assert isinstance(op, Operation), "weights are results of weight-side operations"
    name = _joined_name([weight_name(operand) for operand in op.operands], op)
    if isinstance(op, PackWeightOp) and isinstance(value.type, WeightType):
        layout = value.type.layout
        return f"{name}.{layout.kind.data}{layout.panel_rows.data or ''}"
    return name


def _joined_name(names: Sequence[str], op: Operation) -> str:
    names = list(dict.fromkeys(names))
    if len(names) == 1:
        return names[0]
    separator = _SEPARATORS.get(op.name, "_")
    split = [name.split(".") for name in names]
    shortest = min(len(parts) for parts in split)
    head = _common([parts[:shortest] for parts in split])
    tail = _common([parts[head:][::-1] for parts in split])
    middle = separator.join(".".join(parts[head : len(parts) - tail]) for parts in split)
    first = split[0]
    return ".".join([*first[:head], middle, *(first[-tail:] if tail else [])])


def _common(lists: Sequence[Sequence[str]]) -> int:
    """How many leading entries all lists share."""
    count = 0
    for entries in zip(*lists, strict=False):
        if len(set(entries)) > 1:
            break
        count += 1
    return count


def demanded_layouts(weight: SSAValue) -> tuple[LayoutAttr, ...]:
    """Layouts in which the kernels chosen so far read this weight, in any phase.

    Linears are chosen first: the rule of an op that may share a stored weight with a linear (a
    tied embedding) can so accept the layout that the linear requires.
    """
    module = _module_of(weight)
    if module is None:
        return ()
    key = weight_key(weight)
    found: dict[LayoutAttr, None] = {}
    for op in module.walk():
        if isinstance(op, PackWeightOp) and weight_key(op.weight) == key:
            assert isinstance(op.result.type, WeightType)
            found[op.result.type.layout] = None
    return tuple(found)


def _module_of(value: SSAValue) -> ModuleOp | None:
    op = value.owner if isinstance(value.owner, Operation) else value.owner.parent_op()
    while op is not None and not isinstance(op, ModuleOp):
        op = op.parent_op()
    return op
