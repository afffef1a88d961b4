"""A selector that takes every operation."""

from xdsl.ir import Attribute, Operation

from sala_compile.passes.support.kernel_choice import KernelChoice, NoKernel, Workspace
from sala_compile.passes.support.weight_names import demanded_layouts
from sala_compile.sala_ir.dialect import (
    BatchType,
    CompressedKeysType,
    EmbeddingOp,
    KvCacheType,
    LayoutAttr,
    LinearOp,
    SelectBlocksOp,
    WeightType,
)

PANEL = LayoutAttr.panel(64)


def accept_all(op: Operation) -> KernelChoice | NoKernel:
    """A kernel for any operation.

    Linears read panels; an embedding reads panels where a linear demands them of the same weight;
    select_blocks has a workspace.
    """
    family = op.name.removeprefix("sala.")
    operands = tuple(i for i, value in enumerate(op.operands) if value.type != BatchType())
    scratch = (Workspace("scores", "float32", 64, 16),) if isinstance(op, SelectBlocksOp) else ()
    kinds = [str(op.operands[i].type) for i in operands]
    return KernelChoice(
        symbol=f"{family}_{'_'.join(_letters(kind) for kind in kinds)}",
        family=family,
        spec={"kinds": tuple(kinds)},
        operands=operands,
        arguments=(
            "control",
            *_names("in", [op.operands[i].type for i in operands]),
            *_names("out", [result.type for result in op.results]),
            *(f"workspace:{i}" for i in range(len(scratch))),
        ),
        workspaces=scratch,
        weight_layouts=_layouts(op),
        rule=f"any {family}",
        rejected=(("none", "too narrow"),),
    )


def _letters(kind: str) -> str:
    return "".join(letter for letter in kind if letter.isalnum())


def _names(side: str, kinds: list[Attribute]) -> list[str]:
    names: list[str] = []
    for index, kind in enumerate(kinds):
        parts = {KvCacheType: (".k", ".v"), CompressedKeysType: (".fine", ".coarse")}
        found = parts.get(type(kind), ("",))
        if isinstance(kind, WeightType) and kind.encoding.parts:
            found = tuple(f".{part}" for part in kind.encoding.parts)
        names += [f"{side}:{index}{part}" for part in found]
    return names


def _layouts(op: Operation) -> dict[int, LayoutAttr]:
    is_head = isinstance(op, EmbeddingOp) and PANEL in demanded_layouts(op.weight)
    return {1: PANEL} if is_head or isinstance(op, LinearOp) else {}
