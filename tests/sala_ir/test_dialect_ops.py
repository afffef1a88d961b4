"""Building ops from Python: inferred types, plain parameters, the layer mark, the state rule."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from xdsl.context import Context
from xdsl.dialects import test
from xdsl.dialects.builtin import ModuleOp, UnitAttr, bf16, f32, i32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Attribute, SSAValue
from xdsl.transforms.dead_code_elimination import DeadCodeElimination
from xdsl.utils.exceptions import VerifyException

from sala_compile.sala_ir.attention_sizes import BlockSelection, Heads
from sala_compile.sala_ir.dialect import (
    AttendBlocksOp,
    BatchType,
    ConcatWeightsOp,
    EmbeddingOp,
    Epilogue,
    InterleaveWeightsOp,
    KernelCallOp,
    KvCacheType,
    LayoutAttr,
    LightningAttentionOp,
    LinearOp,
    PackWeightOp,
    RecurrentStateType,
    RmsNormOp,
    SelectBlocksOp,
    SliceOp,
    SwigluOp,
    WeightOp,
    WeightType,
    activation_type,
    attribute_of,
    ids_type,
    plain,
)
from sala_compile.sala_ir.dialect.types import CompressedKeysType

CACHE = KvCacheType(2, 16, 16, f32)


def value(kind: Attribute) -> SSAValue:
    """Some value of a type."""
    return test.TestOp(result_types=[kind]).results[0]


def weight(*shape: int) -> SSAValue:
    """Some f32 weight."""
    return WeightOp("w", WeightType(shape, f32)).result


def test_linear_infers_columns_from_the_weight() -> None:
    op = LinearOp(value(activation_type(32, f32)), weight(48, 32), element=bf16, layer=3)
    op.verify()
    assert op.result.type == activation_type(48, bf16)
    assert op.layer == 3
    assert op.parameters == {
        "scale": 1.0,
        "epilogue": "none",
        "activation_group": 0,
        "limit": 0.0,
    }


@pytest.mark.parametrize(("inner", "rows"), [(24, 64), (16, 32), (1, 32), (33, 96)])
def test_swiglu_linear_fits_its_interleaved_weight(inner: int, rows: int) -> None:
    gate_up = InterleaveWeightsOp(weight(inner, 32), weight(inner, 32))
    gate_up.verify()
    assert gate_up.result.type == WeightType((rows, 32), f32)
    x, kind = value(activation_type(32, f32)), activation_type(inner, f32)
    op = LinearOp(x, gate_up.result, epilogue=Epilogue.SWIGLU, result_types=[kind])
    op.verify()
    assert op.parameters["epilogue"] == "swiglu"
    whole = LinearOp(x, gate_up.result, epilogue=Epilogue.SWIGLU)
    assert whole.result.type == activation_type(rows // 2, f32)


def test_constructors_refuse_what_the_definition_does_not_have() -> None:
    x = value(activation_type(32, f32))
    with pytest.raises(TypeError, match=r"sala.linear has no \['colour'\]"):
        LinearOp(x, weight(48, 32), colour=1)
    with pytest.raises(TypeError, match=r"needs \['size'\]"):
        SliceOp(x, start=0)
    with pytest.raises(TypeError, match=r"needs the operands \['weight'\]"):
        LinearOp(x)
    with pytest.raises(TypeError, match="not 3 operands"):
        SwigluOp(x, x, x)
    with pytest.raises(TypeError, match="do not follow"):
        KernelCallOp([x], symbol="f", family="f", arguments=["control"])


def test_properties_at_their_defaults_are_left_out() -> None:
    x = value(activation_type(32, f32))
    assert "scale" not in LinearOp(x, weight(48, 32), scale=1).properties
    assert LinearOp(x, weight(48, 32), scale=2).scale.value.data == 2.0
    assert LinearOp(x=x, weight=weight(48, 32)).x is x


def test_concat_adds_up_the_axis() -> None:
    rows = ConcatWeightsOp([weight(64, 32), weight(16, 32)], layer=1)
    columns = ConcatWeightsOp([weight(64, 32), weight(64, 8)], axis=1)
    for op in (rows, columns):
        op.verify()
    assert rows.result.type == WeightType((80, 32), f32)
    assert columns.result.type == WeightType((64, 40), f32)


def test_optional_operands_are_absent_or_found() -> None:
    x, gate = value(activation_type(64, f32)), value(activation_type(64, f32))
    op = RmsNormOp(x, weight(64), eps=1e-6, gate=gate)
    op.verify()
    assert op.rows is None
    assert op.gate is gate
    rows = value(ids_type())
    assert RmsNormOp(x, weight(64), eps=1e-6, rows=rows).rows is rows
    assert RmsNormOp(x, weight(16), eps=1e-6).parameters == {"eps": 1e-6, "groups": 1}
    assert RmsNormOp(x, weight(16), eps=1e-6).group == 16
    assert RmsNormOp(x, weight(16), eps=1e-6, groups=2).group == 8


def test_selection_and_attention_infer_their_index_types() -> None:
    q, batch = value(activation_type(64, f32)), value(BatchType())
    keys = value(CompressedKeysType(2, 8, 4, 16, 16, f32))
    heads = Heads(4, 2, 16, 0.25)
    selection = BlockSelection(8, 4, 16, init_blocks=1, window_blocks=2, topk=4, dense_len=64)
    select = SelectBlocksOp(q, keys, batch, heads=heads, selection=selection)
    select.verify()
    assert select.parameters == asdict(heads) | asdict(selection)
    lists = {"blocks": select.blocks, "counts": select.counts, "block_size": 16}
    attend = AttendBlocksOp(q, value(CACHE), batch, heads=heads, **lists, element=bf16)
    attend.verify()
    assert attend.gate is None
    assert attend.out.type == activation_type(64, bf16)


def test_slopes_survive_as_float32() -> None:
    q, state = value(activation_type(32, f32)), value(RecurrentStateType(2, 16, 16, f32))
    op = LightningAttentionOp(
        q,
        q,
        q,
        state,
        value(BatchType()),
        heads=Heads(2, 2, 16, 0.25),
        eps=1e-6,
        slopes=[0.5, 0.8408964152537145],
    )
    op.verify()
    assert op.parameters["slopes"] == (0.5, 0.8408964276313782)
    assert op.state_updates == {op.state_out: state}


@pytest.mark.parametrize("other", [bf16, f32])
def test_states_and_weights_differ_by_element(other: Attribute) -> None:
    same = other == f32
    assert (KvCacheType(2, 16, 16, other) == CACHE) is same
    assert (CACHE.with_element(other) == CACHE) is same
    assert (WeightType((2, 3), other) == WeightType((2, 3), f32)) is same
    packed = PackWeightOp(weight(64, 32), LayoutAttr.panel(64))
    packed.verify()
    assert packed.result.type != packed.weight.type


def test_types_other_than_the_models_are_refused() -> None:
    with pytest.raises(VerifyException, match="f32 or bf16"):
        KvCacheType(2, 16, 16, i32)
    with pytest.raises(VerifyException):
        EmbeddingOp(value(ids_type(2)), weight(10, 4)).verify()


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"a": 1, "b": -0.5, "c": True, "d": "text", "e": (1, 2), "f": {"g": (0.1,)}, "h": False},
        {"bytes": 1 << 40, "empty": (), "none": None},
    ],
)
def test_plain_values_come_back(parameters: dict[str, object]) -> None:
    assert plain(attribute_of(parameters)) == parameters


def test_values_without_attribute_are_refused() -> None:
    with pytest.raises(TypeError, match="set"):
        attribute_of({1, 2})
    with pytest.raises(TypeError, match="f32"):
        plain(f32)
    assert attribute_of(UnitAttr()) == UnitAttr()


def test_kernel_call_keeps_order_and_spec() -> None:
    call = KernelCallOp(
        [value(activation_type(32, f32)), weight(48, 32)],
        result_types=[[activation_type(48, f32)]],
        symbol="linear_48x32",
        family="linear",
        arguments=["control", "in:0", "in:1", "out:0", "workspace:0"],
        workspaces=[{"name": "scores", "terms": ((64, ("workers",)),)}],
        spec={"columns": 48, "scale": 0.5, "bias": False},
        layer=2,
    )
    call.verify()
    assert call.parameters["arguments"][0] == "control"
    assert call.parameters["spec"] == {"columns": 48, "scale": 0.5, "bias": False}
    assert call.parameters["workspaces"][0]["terms"] == ((64, ("workers",)),)
    assert (call.layer, call.symbol.data) == (2, "linear_48x32")


def test_unused_ops_are_dead() -> None:
    x = activation_type(32, f32)
    func = FuncOp("f", ([x], [activation_type(16, f32)]))
    used = SliceOp(func.args[0], start=0, size=16)
    unused = SliceOp(func.args[0], start=16, size=16)
    func.body.block.add_ops([used, unused, ReturnOp(used.result)])
    module = ModuleOp([func])
    DeadCodeElimination().apply(Context(), module)
    assert [op.name for op in func.body.block.ops] == ["sala.slice", "func.return"]
