"""The rules of the GPU kernels of sparse layers: arguments, workspaces, phases, refusals."""

from types import ModuleType
from typing import Any

import pytest
from xdsl.dialects import func, test
from xdsl.dialects.builtin import bf16, f32
from xdsl.ir import Block, Operation, Region, SSAValue

from sala_compile.codegen.kernels.append_kv import gpu as append_kv
from sala_compile.codegen.kernels.attend_blocks.gpu import kernel as attend_blocks
from sala_compile.codegen.kernels.compress_keys.gpu import kernel as compress_keys
from sala_compile.codegen.kernels.compress_new_keys.gpu import kernel as compress_new_keys
from sala_compile.codegen.kernels.registry import family
from sala_compile.codegen.kernels.select_blocks.gpu import kernel as select_blocks
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.sala_ir.attention_sizes import BlockSelection, Heads
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
    activation_type,
)

TARGET = CudaTarget(90)
MODULES = {
    "append_kv": append_kv,
    "compress_keys": compress_keys,
    "compress_new_keys": compress_new_keys,
    "select_blocks": select_blocks,
    "attend_blocks": attend_blocks,
}


def value(kind: Any) -> SSAValue:
    """A value that some other operation makes."""
    return test.TestOp(result_types=[kind]).results[0]


def operation(
    name: str,
    *,
    heads: int = 6,
    size: int = 16,
    block: int = 16,
    element: Any = bf16,
    activation: Any = f32,
) -> Operation:
    """An operation with two kv heads and windows of 8."""
    q, gate = (value(activation_type(heads * size, activation)) for _ in range(2))
    k, v = (value(activation_type(2 * size, activation)) for _ in range(2))
    batch, kv = value(BatchType()), value(KvCacheType(2, block, size, element))
    ck = value(CompressedKeysType(2, 8, 4, block, size, element))
    sizes = Heads(heads, 2, size, 0.5)
    selection = BlockSelection(8, 4, block, 1, 2, 4, 64)
    if name == "append_kv":
        return AppendKvOp(k, v, kv, batch)
    if name == "compress_keys":
        return CompressKeysOp(kv, ck, batch)
    if name == "compress_new_keys":
        return CompressNewKeysOp(k, value(RecentKeysType(2, 32, size, element)), ck, batch)
    selected = SelectBlocksOp(q, ck, batch, heads=sizes, selection=selection)
    if name == "select_blocks":
        return selected
    lists = {"blocks": selected.blocks, "counts": selected.counts, "block_size": block}
    return AttendBlocksOp(q, kv, batch, heads=sizes, **lists, gate=gate, element=element)


def in_phase(op: Operation, name: str) -> Operation:
    """The operation in a function of that name."""
    func.FuncOp(name, ((), ()), Region(Block([op])))
    return op


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_choice_and_kernel_agree(name: str, phase: str) -> None:
    module: ModuleType = MODULES[name]
    choice = module.FAMILY.rule(in_phase(operation(name), phase), TARGET)
    assert isinstance(choice, KernelChoice)
    kernel = family(name, "gpu").build(dict(choice.spec), TARGET)
    assert kernel.symbol == choice.symbol
    assert len(kernel.parameters) == len(choice.arguments)
    for parameter, argument in zip(kernel.parameters, choice.arguments, strict=True):
        if argument == "control" or argument.startswith("batch:"):
            assert parameter.name == argument.removeprefix("batch:")
    last = kernel.parameters[len(kernel.parameters) - len(choice.workspaces) :]
    assert [p.name for p in last] == [space.name for space in choice.workspaces]
    assert [p.dtype for p in last] == [space.dtype for space in choice.workspaces]
    known = {parameter.name for parameter in kernel.parameters}
    for launch in kernel.each_launch():
        named = {
            getattr(argument, "parameter", "control") for argument in launch.arguments.values()
        }
        assert named <= known


@pytest.mark.parametrize("name", ["select_blocks", "attend_blocks"])
def test_phases_have_kernels_of_their_own(name: str) -> None:
    choices = [
        MODULES[name].FAMILY.rule(in_phase(operation(name), p), TARGET)
        for p in ("prefill", "decode")
    ]
    assert choices[0].symbol != choices[1].symbol
    assert [choice.spec["decode"] for choice in choices] == [False, True]


@pytest.mark.parametrize(
    ("name", "sizes", "reason"),
    [
        ("select_blocks", {"activation": bf16}, "q must be f32"),
        ("attend_blocks", {"activation": bf16}, "q must be f32"),
        ("append_kv", {"activation": bf16}, "k must be f32"),
        ("compress_new_keys", {"activation": bf16}, "k must be f32"),
        ("select_blocks", {"size": 144}, "heads of 144 columns pass 128"),
        ("attend_blocks", {"size": 144}, "heads of 144 columns pass 128"),
        ("attend_blocks", {"heads": 66}, "groups of 33 heads pass 32"),
        ("select_blocks", {"block": 512}, "blocks of 128 strides pass 64"),
    ],
)
def test_refusals_say_why(name: str, sizes: dict[str, Any], reason: str) -> None:
    answer = MODULES[name].FAMILY.rule(operation(name, **sizes), TARGET)
    assert isinstance(answer, str)
    assert reason in answer
