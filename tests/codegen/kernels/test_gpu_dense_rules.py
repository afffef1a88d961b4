"""What the rules of a GPU's dense kernels say about operations, and integers from packing on."""

from typing import Any

import numpy as np
import pytest
from xdsl.dialects import test as some
from xdsl.dialects.builtin import Attribute, FunctionType, bf16, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Operation, Region, SSAValue

from sala_compile.codegen.kernels.registry import families, family
from sala_compile.codegen.kernels.triton.kernel import GpuKernel
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.codegen.weights.packing import packed_weight, pieces
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.sala_ir import reference
from sala_compile.sala_ir.attention_sizes import Heads
from sala_compile.sala_ir.dialect import types
from sala_compile.sala_ir.dialect.attributes import Rows
from sala_compile.sala_ir.dialect.elementwise import OutputGateOp, SwigluOp
from sala_compile.sala_ir.dialect.embedding import EmbeddingOp
from sala_compile.sala_ir.dialect.linear import LinearOp, SliceOp
from sala_compile.sala_ir.dialect.mixers import LightningAttentionOp
from sala_compile.sala_ir.dialect.norm import RmsNormOp
from sala_compile.sala_ir.dialect.rope import RopeOp, RopeTableOp
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr, LayoutAttr
from sala_compile.sala_ir.dialect.weights import PackWeightOp, QuantizeWeightOp, WeightOp
from tests.support.gpu_rows import control_of
from tests.support.interpreted import run
from tests.support.rows import exact
from tests.support.steps import aligned, poisoned

TARGET = CudaTarget(90)


def value(kind: Attribute) -> SSAValue:
    """Some value of a type."""
    return some.TestOp(result_types=[kind]).results[0]


def activation(columns: int, element: Attribute = f32) -> SSAValue:
    """An activation that is a buffer of its own."""
    return value(types.activation_type(columns, element))


def late(columns: int) -> SSAValue:
    """An activation with a row for each row of the logits."""
    return value(types.activation_type(columns, f32, Rows.LOGIT_ROWS))


def weight(*shape: int, element: Attribute = f32, encoding: EncodingAttr | None = None) -> SSAValue:
    """A weight."""
    return value(types.WeightType(shape, element, encoding))


def chosen(op: Operation) -> tuple[KernelChoice, GpuKernel]:
    """The choice of the first family of an operation, and the kernel that its spec gives."""
    op.verify()
    first = families(op.name, "gpu")[0]
    choice = first.rule(op, TARGET)
    assert isinstance(choice, KernelChoice), choice
    kernel = first.build(dict(choice.spec), TARGET)
    assert kernel.symbol == choice.symbol
    assert len(kernel.parameters) == len(choice.arguments)
    return choice, kernel


ROWS = value(types.ids_type())


@pytest.mark.parametrize(
    "op",
    [
        RmsNormOp(activation(32), weight(32), eps=1e-6, rows=ROWS, element=bf16),
        RmsNormOp(activation(32), weight(32), eps=1e-6, gate=activation(32)),
        OutputGateOp(activation(20), activation(20)),
        EmbeddingOp(ROWS, weight(70, 33, element=bf16)),
        SwigluOp(activation(20), activation(20)),
        RopeOp(SliceOp(activation(64), start=16, size=32).result, activation(8), head_dim=8),
        LinearOp(late(16), weight(8, 16), residual=late(8)),
        LinearOp(activation(16, bf16), weight(8, 16, element=bf16), bias=weight(8)),
    ],
    ids=lambda op: op.name,
)
def test_parameters_follow_the_arguments(op: Operation) -> None:
    chosen(op)


def test_the_table_of_a_rotation_needs_positions_only() -> None:
    batch = value(types.BatchType())
    assert chosen(RopeTableOp(batch, frequencies=[1.0] * 8))[0].operands == ()


def lightning(element: Attribute, **options: Any) -> LightningAttentionOp:
    """Lightning attention over the output of a linear of that element type; 4 heads of 8."""
    merged = LinearOp(activation(16, element), weight(64, 16, element=element)).result
    q, k, v = (SliceOp(merged, start=a, size=n).result for a, n in ((0, 32), (32, 16), (48, 16)))
    state, batch = value(types.RecurrentStateType(4, 8, 8, f32)), value(types.BatchType())
    options |= {"heads": Heads(4, 2, 8, 0.5), "eps": 1e-6}
    return LightningAttentionOp(q, k, v, state, batch, slopes=[0.5] * 4, **options)


def test_lightning_attention_follows_phase_and_precision() -> None:
    norms = {"q_norm": weight(8), "k_norm": weight(8), "rope": activation(8)}
    prefill, kernel = chosen(lightning(bf16, **norms))
    assert (prefill.spec["form"], prefill.spec["products"]) == ("chunks", "tf32")
    assert len(kernel.launches) == 4
    prepared, segments = prefill.workspaces
    assert (prepared.elements_per_token, prepared.elements_per_sequence) == (6 * 8, 0)
    assert (segments.elements_per_token, segments.elements_per_sequence) == (1, 2 * 4 * 64)
    assert family(prefill.family, "gpu").multiple(prefill.spec, TARGET) == 512
    op = lightning(f32)
    FuncOp("decode", FunctionType.from_lists([], []), Region(Block([op, ReturnOp()])))
    decode, kernel = chosen(op)
    assert (decode.spec["form"], decode.spec["products"]) == ("step", "ieee")
    assert len(kernel.launches) == 1
    assert not decode.workspaces


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        (RmsNormOp(activation(40000), weight(40000), eps=1e-6), "more than 32768"),
        (LinearOp(activation(16), weight(8, 16, element=bf16)), "must be equal"),
        (
            LinearOp(activation(48), weight(8, 48, encoding=EncodingAttr("int4", 48))),
            "groups of 48 columns do not fit blocks of 64",
        ),
    ],
)
def test_refusals(op: Operation, reason: str) -> None:
    assert reason in str(families(op.name, "gpu")[0].rule(op, TARGET))


def test_decode_and_logits_take_few_rows() -> None:
    ops = [LinearOp(activation(4096), weight(4096, 4096)) for _ in range(3)]
    ops[2] = LinearOp(late(4096), weight(4096, 4096))
    for name, op in zip(("prefill", "decode", "logits"), ops, strict=True):
        FuncOp(name, FunctionType.from_lists([], []), Region(Block([op, ReturnOp()])))
    prefill, decode, logits = (chosen(op)[0] for op in ops)
    assert [choice.spec["form"] for choice in (prefill, decode, logits)] == [
        "tiles",
        "rows",
        "rows",
    ]
    assert not any(choice.workspaces for choice in (prefill, decode, logits))


@pytest.mark.parametrize(
    "encoding",
    [EncodingAttr("int4", 32, "stored"), EncodingAttr("int8", 128)],
    ids=lambda e: e.label,
)
def test_packed_integers_give_the_values_that_the_reference_rounds_to(encoding: Any) -> None:
    random = np.random.default_rng(0)
    matrix, x = random.standard_normal((70, 150)).astype(np.float32), np.eye(150)
    plain = WeightOp("w", types.WeightType([70, 150], f32)).result
    quantized = QuantizeWeightOp(plain, encoding, f32).result
    choice, kernel = chosen(LinearOp(activation(150), quantized))
    assert choice.weight_layouts == {1: LayoutAttr.block(64)}
    assert choice.arguments[2:4] == ("in:1.codes", "in:1.scales")
    packed = packed_weight("w", PackWeightOp(quantized, choice.weight_layouts[1]).result)
    assert packed.layout == "block64"
    buffers = {part.suffix: np.empty(0, part.element.numpy) for part in packed.parts}
    source: Any = type("Rows", (), {"rows": lambda _, name, start, stop: matrix[start:stop]})()
    for suffix, piece in pieces(packed, source):
        flat = piece.reshape(-1).view(buffers[suffix].dtype)
        buffers[suffix] = np.concatenate([buffers[suffix], flat])
    for part in packed.parts:
        buffers[part.suffix] = aligned(buffers[part.suffix].reshape(part.shape))
    buffers |= {"control": control_of(150), "x": poisoned(150, 160), "y": poisoned(150, 80)}
    buffers["x"][:, :150] = x
    buffers["expanded"] = poisoned(1, choice.workspaces[0].elements)
    run(kernel, buffers, {"tokens": 150})
    expected = reference.quantize_weight(
        matrix.astype(np.float64),
        bits=encoding.bits,
        group=encoding.group.data,
        stores_zeros=encoding.stores_zeros,
        rounding=reference.exact,
    )
    np.testing.assert_array_equal(exact(buffers["y"][:, :70]), expected.T.astype(np.float32))
