"""What the rules of the linear, row and embedding kernels say about operations of the dialect."""

from typing import Any

import pytest
from xdsl.dialects import test as some
from xdsl.dialects.builtin import Attribute, ModuleOp, bf16, f32
from xdsl.ir import Operation, SSAValue

from sala_compile.codegen.kernels.elementwise import cpu as elementwise
from sala_compile.codegen.kernels.embedding import cpu as embedding
from sala_compile.codegen.kernels.linear.cpu import kernel as linear
from sala_compile.codegen.kernels.registry import families, family
from sala_compile.codegen.kernels.rms_norm import cpu as rms_norm
from sala_compile.codegen.kernels.rope import cpu as rope
from sala_compile.codegen.kernels.rope_table import cpu as rope_table
from sala_compile.codegen.kernels.select import selector_for
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.sala_ir.dialect import types
from sala_compile.sala_ir.dialect.attributes import Rows
from sala_compile.sala_ir.dialect.elementwise import OutputGateOp, ResidualAddOp, SwigluOp
from sala_compile.sala_ir.dialect.embedding import EmbeddingOp
from sala_compile.sala_ir.dialect.linear import LinearOp, SliceOp
from sala_compile.sala_ir.dialect.norm import RmsNormOp
from sala_compile.sala_ir.dialect.rope import RopeOp, RopeTableOp
from sala_compile.sala_ir.dialect.weight_storage import LayoutAttr
from sala_compile.sala_ir.dialect.weights import CastWeightOp, PackWeightOp, WeightOp

TARGET = CpuTarget("x86-64-v3")


def value(kind: Attribute) -> SSAValue:
    """Some value of a type."""
    return some.TestOp(result_types=[kind]).results[0]


def activation(columns: int, element: Attribute = f32) -> SSAValue:
    """An activation that is a buffer of its own."""
    return value(types.activation_type(columns, element))


def late(columns: int, element: Attribute = f32) -> SSAValue:
    """An activation with a row for each row of the logits."""
    return value(types.activation_type(columns, element, Rows.LOGIT_ROWS))


def view(start: int, size: int, of: int) -> SSAValue:
    """Columns of a wider activation."""
    return SliceOp(activation(of), start=start, size=size).result


def weight(*shape: int, element: Attribute = f32) -> SSAValue:
    """A weight."""
    return value(types.WeightType(shape, element))


def chosen(op: Operation) -> KernelChoice:
    """The choice of the first family of an operation, whose kernel builds from the saved spec."""
    op.verify()
    (first, *_) = families(op.name)
    choice = first.rule(op, TARGET)
    assert isinstance(choice, KernelChoice), choice
    assert family(choice.family) == first
    function = first.build(dict(choice.spec), TARGET)
    assert function.attrs["global_symbol"] == choice.symbol
    parameters = len(function.params)
    assert parameters == len(choice.arguments)
    return choice


def test_linear_with_everything() -> None:
    x = late(40, bf16)
    op = LinearOp(
        x,
        weight(70, 40, element=bf16),
        bias=weight(70),
        residual=SliceOp(late(90), start=3, size=70).result,
        scale=0.5,
    )
    choice = chosen(op)
    assert choice.operands == (0, 1, 2, 3)
    assert choice.arguments == (
        *("control", "in:0", "in:1", "in:2", "in:3"),
        *("out:0", "workspace:0"),
    )
    assert choice.weight_layouts == {1: LayoutAttr.panel(64)}
    assert choice.spec["residual_start"] == 3
    assert choice.spec["extent"] == "logit_rows"


def test_linear_of_a_view_without_bias() -> None:
    op = LinearOp(view(16, 32, of=64), weight(8, 32), residual=activation(8))
    choice = chosen(op)
    assert choice.operands == (0, 1, 2)
    assert (choice.spec["x_start"], choice.spec["x_pitch"]) == (16, 64)


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        (LinearOp(activation(16), weight(8, 16, element=bf16)), "must be equal"),
        (LinearOp(activation(16), weight(8, 16), residual=activation(8, bf16)), "residual"),
    ],
)
def test_linear_refuses(op: LinearOp, reason: str) -> None:
    assert reason in str(linear.FAMILY.rule(op, TARGET))


def test_norms() -> None:
    rows = value(types.ids_type())
    gathered = chosen(RmsNormOp(activation(32), weight(32), eps=1e-6, rows=rows, element=bf16))
    assert gathered.operands == (0, 1, 2)
    assert gathered.spec["output"] == "bf16"
    heads = chosen(RmsNormOp(view(8, 32, of=64), weight(16), eps=1e-6))
    assert (heads.spec["group"], heads.spec["x_start"]) == (16, 8)
    gate = view(32, 32, of=64)
    gated = chosen(RmsNormOp(activation(32), weight(32), eps=1e-6, gate=gate, element=bf16))
    assert gated.operands == (0, 1, 2)
    assert (gated.spec["gate_start"], gated.spec["gate_pitch"]) == (32, 64)
    refusal = rms_norm.FAMILY.rule(
        RmsNormOp(activation(8), weight(8, element=bf16), eps=0.0), TARGET
    )
    assert "weight must be f32" in str(refusal)


def test_rotary() -> None:
    table = RopeTableOp(value(types.BatchType()), frequencies=[0.5] * 5)
    assert chosen(table).arguments == ("control", "batch:token_position", "out:0")
    assert chosen(RopeOp(view(5, 30, of=40), table.result, head_dim=10)).operands == (0, 1)
    refusal = rope.FAMILY.rule(RopeOp(activation(30), view(0, 10, of=40), head_dim=10), TARGET)
    assert "table" in str(refusal)
    partial = chosen(RopeOp(view(5, 36, of=48), table.result, head_dim=12))
    assert (partial.spec["rotated"], partial.spec["head_dim"]) == (10, 12)
    assert rope_table.Spec((1.0, 0.5)).symbol != rope_table.Spec((1.0, 0.25)).symbol
    ranges = RopeTableOp(value(types.BatchType()), frequencies=[0.5] * 4, starts=(0, 9))
    fields = ("batch:token_position", "batch:token_sequence", "batch:call_lengths")
    assert chosen(ranges).arguments == ("control", *fields, "out:0")


@pytest.mark.parametrize("kind", [OutputGateOp, SwigluOp, ResidualAddOp])
def test_elementwise(kind: Any) -> None:
    choice = chosen(kind(activation(20), view(4, 20, of=32), element=bf16))
    assert choice.spec["function"] == kind.name.removeprefix("sala.")
    assert choice.spec["b_start"] == 4
    assert elementwise.Spec.parse(choice.spec).symbol == choice.symbol


@pytest.mark.parametrize("tied", [False, True])
def test_embedding_reads_the_panels_of_a_tied_head(tied: bool) -> None:
    stored = types.WeightType([100, 32], f32)
    matrix = WeightOp("embed", stored)
    head = WeightOp("embed" if tied else "head", stored)
    low = CastWeightOp(head.result, bf16)
    own = CastWeightOp(matrix.result, bf16)
    packed = PackWeightOp(low.result, LayoutAttr.panel(64))
    lookup = EmbeddingOp(value(types.ids_type()), own.result, scale=12.0)
    ModuleOp([matrix, head, low, own, packed, lookup])
    choice = chosen(lookup)
    assert choice.spec["panel"] == tied
    assert choice.weight_layouts == ({1: LayoutAttr.panel(64)} if tied else {})
    assert embedding.Spec.parse(choice.spec).symbol == choice.symbol


def test_kernels_that_count_tokens_do_not_take_rows_of_the_logits() -> None:
    choose = selector_for(TARGET)
    for op in (SwigluOp(late(8), late(8)), RmsNormOp(late(8), weight(8), eps=0.0)):
        op.verify()
        assert "tokens" in str(choose(op))
    assert isinstance(choose(LinearOp(late(16), weight(8, 16))), KernelChoice)
