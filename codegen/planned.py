"""Kernels that are planned and not built: what they will read and need, for plans on paper.

A dry run may choose them, so that the memory of a model can be told before its kernels exist.
A compilation that writes never does.
"""

from functools import partial
from typing import Any

from xdsl.ir import Operation

from codegen.encodings import weight_parts
from codegen.kernels.linear.cpu import spec_of
from codegen.kernels.linear.layout import PANEL_ROWS
from codegen.kernels.linear.spec import default_schedule
from codegen.kernels.operands import indices_of, spec_values
from codegen.targets.cpu import CpuTarget
from passes.kernel_choice import KernelChoice, Rule, Workspace
from sala_ir.dialect.attributes import LayoutAttr
from sala_ir.dialect.linear import LinearOp
from sala_ir.dialect.types import WeightType
from sala_ir.dialect.weights import round_up

INTEGER_LINEAR = "linear_integers"
"""Family of linears that read integers: vectors of them in decode, an expanded panel in prefill."""


def planned_rules(op: Operation, target: Any) -> list[tuple[str, Rule]]:
    """The rules of planned kernels for an operation, to be asked after all others."""
    rules: dict[str, Any] = {"sala.linear": integer_linear} if target.kind == "cpu" else {}
    rule = rules.get(op.name)
    return [] if rule is None else [(INTEGER_LINEAR, partial(rule, target=target))]


def integer_linear(op: LinearOp, target: CpuTarget) -> KernelChoice | str:
    """A linear whose weight is stored as integers; x has the element type of their values.

    Beside what a plain linear needs, every worker expands one panel [K, 64] at a time.
    """
    kind = op.weight.type
    assert isinstance(kind, WeightType)
    if kind.encoding.is_plain:
        return "the weight is not stored as integers"
    spec, layout = spec_of(op), LayoutAttr.panel(PANEL_ROWS)
    operands = indices_of(op.operands, op.x, op.weight, op.bias, op.residual)
    parts = [f"in:1.{part.suffix}" for part in weight_parts(kind.with_layout(layout))]
    rest = [f"in:{index}" for index in range(2, len(operands))]
    depth = round_up(spec.depth, kind.encoding.group.data)
    panel = Workspace("panel", spec.weight.dtype, PANEL_ROWS * depth)
    label = kind.encoding.label.replace("-", "_")
    return KernelChoice(
        symbol=spec.symbol.replace("linear", f"linear_{label}", 1),
        family=INTEGER_LINEAR,
        spec=spec_values(spec) | {"encoding": kind.encoding.label},
        operands=operands,
        arguments=("control", "in:0", *parts, *rest, "out:0", "workspace:0", "workspace:1"),
        workspaces=(
            Workspace("sums", "float32", default_schedule(spec, target).workspace),
            panel,
        ),
        weight_layouts={1: layout},
    )
