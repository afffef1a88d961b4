"""Replace every kernel-level operation by the call of a kernel."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern
from xdsl.rewriter import InsertPoint

from sala_compile.passes.support.kernel_choice import (
    KernelChoice,
    NoKernel,
    Rule,
    Selector,
    SpecValue,
    Workspace,
    base_and_start,
    first_fitting,
)
from sala_compile.passes.support.kernel_log import ChosenKernel, chosen_kernels, record_kernel
from sala_compile.passes.support.rewriting import apply_patterns
from sala_compile.passes.support.weight_names import demanded_layouts
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.dialect import (
    KernelCallOp,
    LayoutAttr,
    LinearOp,
    MakeBatchOp,
    PackWeightOp,
    SalaOp,
    SliceOp,
    WeightType,
    attribute_of,
)

__all__ = [
    "ChosenKernel",
    "KernelChoice",
    "NoKernel",
    "Rule",
    "SelectKernels",
    "Selector",
    "SpecValue",
    "Workspace",
    "base_and_start",
    "chosen_kernels",
    "demanded_layouts",
    "first_fitting",
]


def is_kernel_level(op: Operation) -> bool:
    """Whether a kernel has to compute the operation: not a weight, a view, a batch or a call."""
    return (
        isinstance(op, SalaOp)
        and not isinstance(op, MakeBatchOp | SliceOp | KernelCallOp)
        and not any(isinstance(result.type, WeightType) for result in op.results)
    )


@dataclass(frozen=True)
class _CallKernel(RewritePattern):
    """op(...) -> kernel_call @symbol(...), for the operations that `wanted` accepts."""

    selector: Selector
    wanted: Callable[[Operation], bool]

    def match_and_rewrite(self, op: Operation, rewriter: PatternRewriter) -> None:
        if not isinstance(op, SalaOp) or not is_kernel_level(op) or not self.wanted(op):
            return
        choice = self.selector(op)
        if isinstance(choice, NoKernel):
            raise _no_kernel(op, choice)
        call = KernelCallOp(
            [_input(op, index, choice, rewriter) for index in choice.operands],
            symbol=choice.symbol,
            result_types=[op.result_types],
            family=choice.family,
            arguments=choice.arguments,
            workspaces=[asdict(workspace) for workspace in choice.workspaces],
            spec=choice.spec,
            updates=_updates(op, choice),
            layer=op.layer,
        )
        call.attributes["computes"] = attribute_of(op.name.removeprefix("sala."))
        rewriter.replace(op, call, call.results)
        record_kernel(call, choice)


def _input(op: Operation, index: int, choice: KernelChoice, rewriter: PatternRewriter) -> SSAValue:
    value, _ = base_and_start(op.operands[index])
    layout = choice.weight_layouts.get(index)
    return value if layout is None else _packed(value, layout, rewriter)


def _updates(op: SalaOp, choice: KernelChoice) -> list[tuple[int, int]]:
    """Pairs (result, input of the call) for the states that the operation updates."""
    operands: list[SSAValue] = list(op.operands)
    results: list[SSAValue] = list(op.results)
    return [
        (results.index(new), choice.operands.index(operands.index(old)))
        for new, old in op.state_updates.items()
    ]


def _packed(weight: SSAValue, layout: Attribute, rewriter: PatternRewriter) -> SSAValue:
    """The weight in that layout: itself, the result of a pack that is there, or of a new one."""
    assert isinstance(weight.type, WeightType), "only weights have a layout"
    assert isinstance(layout, LayoutAttr), "a kernel rule gives layouts of the dialect"
    if weight.type.layout == layout:
        return weight
    for use in weight.uses:
        user = use.operation
        if isinstance(user, PackWeightOp) and user.result.type == weight.type.with_layout(layout):
            return user.result
    owner = weight.owner
    assert isinstance(owner, SalaOp), "weights are results of weight-side operations"
    pack = PackWeightOp(weight, layout, layer=owner.layer)
    pack.result.name_hint = weight.name_hint
    rewriter.insert(pack, InsertPoint.after(owner))
    return pack.result


def _no_kernel(op: SalaOp, answer: NoKernel) -> CompileError:
    func = op.parent_op()
    phase = func.sym_name.data if isinstance(func, FuncOp) else "?"
    place = f"@{phase}" if op.layer is None else f"layer {op.layer} in @{phase}"
    refusals = "; ".join(f"{rule}: {reason}" for rule, reason in answer.rejected)
    return CompileError(
        f"no kernel computes {op.name}",
        where=place,
        expected=f"a rule that fits (refused: {refusals or 'there is none'})",
        fix="compile for another target or dtype, or add a rule to codegen/kernels",
    )


def _refuse_all(op: Operation) -> NoKernel:
    return NoKernel((("none", "no selector was given"),))


@dataclass(frozen=True)
class SelectKernels(ModulePass):
    """After this pass a step is a list of kernel calls over packed weights.

    Linears are chosen first, so that other rules see the layouts that they demand
    (`demanded_layouts`). Raises `CompileError` with every refusal if no rule fits.
    """

    name: ClassVar[str] = "select-kernels"
    selector: Selector = field(default=_refuse_all, repr=False, compare=False)

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module in place."""
        apply_patterns(op, _CallKernel(self.selector, lambda found: isinstance(found, LinearOp)))
        apply_patterns(op, _CallKernel(self.selector, lambda found: True))
