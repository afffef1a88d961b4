"""The rules of the attention kernels: ABI, views, workspaces, refusals."""

from types import ModuleType
from typing import Any

import pytest
from xdsl.dialects import test
from xdsl.dialects.builtin import bf16, f32
from xdsl.ir import Operation, SSAValue

from sala_compile.codegen.kernels.append_kv import cpu as append_kv
from sala_compile.codegen.kernels.attend_blocks.cpu import kernel as attend_blocks
from sala_compile.codegen.kernels.compress_keys import cpu as compress_keys
from sala_compile.codegen.kernels.compress_new_keys import cpu as compress_new_keys
from sala_compile.codegen.kernels.lightning_attention.cpu import kernel as lightning_attention
from sala_compile.codegen.kernels.select_blocks.cpu import kernel as select_blocks
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.sala_ir.attention_sizes import BlockSelection, Heads
from sala_compile.sala_ir.dialect.linear import SliceOp
from sala_compile.sala_ir.dialect.mixers import LightningAttentionOp
from sala_compile.sala_ir.dialect.stages import (
    AppendKvOp,
    AttendBlocksOp,
    CompressKeysOp,
    CompressNewKeysOp,
    SelectBlocksOp,
)
from sala_compile.sala_ir.dialect.types import (
    BatchType,
    CompressedKeysType,
    KvCacheType,
    RecentKeysType,
    RecurrentStateType,
    WeightType,
    activation_type,
)

TARGET = CpuTarget("x86-64-v3")
HEADS, KV_HEADS, SIZE, BLOCK, STRIDE = 6, 2, 10, 16, 4
SIZES = Heads(HEADS, KV_HEADS, SIZE, 0.5)
MODULES = (
    *(lightning_attention, append_kv, compress_keys, compress_new_keys),
    *(select_blocks, attend_blocks),
)


def folder(module: ModuleType) -> str:
    """The kernel folder of a module."""
    return module.__name__.partition(".kernels.")[2].partition(".")[0]


def value(kind: Any) -> SSAValue:
    """A value that some other operation makes."""
    return test.TestOp(result_types=[kind]).results[0]


def columns(base: SSAValue, start: int, size: int) -> SSAValue:
    """A column slice."""
    return SliceOp(base, start=start, size=size).results[0]


def operations(element: Any = bf16, activation: Any = f32) -> dict[str, Operation]:
    """One operation of each kind over slices of one merged projection."""
    query, key = HEADS * SIZE, KV_HEADS * SIZE
    merged = value(activation_type(2 * query + 2 * key, activation))
    q, k, v = (
        columns(merged, start, size)
        for start, size in ((0, query), (query, key), (query + key, key))
    )
    gate = columns(merged, query + 2 * key, query)
    batch = value(BatchType())
    kv = value(KvCacheType(KV_HEADS, BLOCK, SIZE, element))
    ck = value(CompressedKeysType(KV_HEADS, 2 * STRIDE, STRIDE, BLOCK, SIZE, element))
    norms = [value(WeightType((SIZE,), f32)) for _ in range(2)]
    selection = BlockSelection(2 * STRIDE, STRIDE, BLOCK, 1, 2, 4, 64)
    selected = SelectBlocksOp(q, ck, batch, heads=SIZES, selection=selection)
    return {
        "lightning_attention": LightningAttentionOp(
            q,
            k,
            v,
            value(RecurrentStateType(HEADS, SIZE, SIZE, f32)),
            batch,
            heads=SIZES,
            eps=1e-6,
            slopes=[0.5] * HEADS,
            q_norm=norms[0],
            k_norm=norms[1],
            rope=value(activation_type(SIZE, f32)),
        ),
        "append_kv": AppendKvOp(k, v, kv, batch),
        "compress_keys": CompressKeysOp(kv, ck, batch),
        "compress_new_keys": CompressNewKeysOp(
            k,
            value(RecentKeysType(KV_HEADS, 8 * STRIDE, SIZE, element)),
            value(ck.type),
            batch,
        ),
        "select_blocks": selected,
        "attend_blocks": AttendBlocksOp(
            q,
            kv,
            batch,
            heads=SIZES,
            blocks=selected.blocks,
            counts=selected.counts,
            block_size=selected.selection.data.block_size,
            gate=gate,
            element=element,
        ),
    }


@pytest.mark.parametrize("module", MODULES, ids=folder)
@pytest.mark.parametrize("element", [bf16, f32], ids=str)
def test_choice_and_function_agree(module: Any, element: Any) -> None:
    family = folder(module)
    operation = operations(element)[family]
    operation.verify()
    choice = module.FAMILY.rule(operation, TARGET)
    assert isinstance(choice, KernelChoice)
    spec = module.Spec.parse(choice.spec)
    assert spec.symbol == choice.symbol
    assert choice.family == family
    function = module.FAMILY.build(spec, TARGET)
    assert len(function.params) == len(choice.arguments)
    assert function.attrs["global_symbol"] == choice.symbol
    used = {
        argument.split(":")[1].split(".")[0] for argument in choice.arguments if "in:" in argument
    }
    assert used == {str(i) for i in range(len(choice.operands))}
    scratch = [argument for argument in choice.arguments if argument.startswith("workspace:")]
    assert len(scratch) == len(choice.workspaces)


def test_slices_become_column_starts() -> None:
    choice = attend_blocks.FAMILY.rule(operations()["attend_blocks"], TARGET)
    assert isinstance(choice, KernelChoice)
    query, key = HEADS * SIZE, KV_HEADS * SIZE
    assert choice.spec["q_start"] == 0
    assert choice.spec["gate_start"] == query + 2 * key
    assert choice.spec["q_pitch"] == choice.spec["gate_pitch"] == 160


@pytest.mark.parametrize(
    "family", ["lightning_attention", "append_kv", "compress_new_keys", "select_blocks"]
)
def test_refuses_bf16_projections(family: str) -> None:
    module = next(m for m in MODULES if folder(m) == family)
    answer = module.FAMILY.rule(operations(activation=bf16)[family], TARGET)
    assert isinstance(answer, str)
    assert "must be f32" in answer
