"""Take a norm between calls of kernels into the calls around it, where their kernels can."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, TensorType, f32
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.rewriter import InsertPoint, Rewriter

from sala_compile.passes.support.functions import find_function
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.passes.support.kernel_log import record_kernel
from sala_compile.passes.support.rewriting import precedes
from sala_compile.runtime.artifact import PhaseName
from sala_compile.sala_ir.dialect import KernelCallOp


@dataclass(frozen=True, slots=True)
class NormSplit:
    """The kernels that share the work of a norm.

    `writer` also takes the norm's other inputs, after its own. Its first result is replaced by the
    values that wait for the factor of their row (`keeps`: these come in addition), and `sums` sums
    of squares for each row. `readers` take these sums as input number `places`.
    """

    writer: KernelChoice
    keeps: bool
    sums: int
    readers: tuple[KernelChoice, ...]
    places: tuple[int, ...]


Splitter = Callable[[KernelCallOp, KernelCallOp, Sequence[KernelCallOp]], NormSplit | None]
"""From the calls that write, normalise and read: how to do without the second, or None."""


def never(
    writer: KernelCallOp, norm: KernelCallOp, readers: Sequence[KernelCallOp]
) -> NormSplit | None:
    """Leave every norm as it is."""
    return None


@dataclass(frozen=True)
class FuseNormCalls(ModulePass):
    """A norm has no launch of its own where the kernels before and after it share its work.

    In `@decode`, where a launch costs as much as a norm. Nothing changes without a splitter.
    """

    name: ClassVar[str] = "fuse-norm-calls"
    splitter: Splitter = field(default=never, repr=False, compare=False)

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module in place."""
        func = find_function(op, PhaseName.DECODE.value)
        if func is None:
            return
        for norm in [each for each in func.body.block.ops if isinstance(each, KernelCallOp)]:
            self._fuse(norm)

    def _fuse(self, norm: KernelCallOp) -> None:
        if norm.parent is None or not norm.inputs or len(norm.results) != 1:
            return
        writer = norm.inputs[0].owner
        readers = [use.operation for use in norm.results[0].uses]
        calls = [reader for reader in readers if isinstance(reader, KernelCallOp)]
        if not isinstance(writer, KernelCallOp) or len(calls) != len(readers):
            return
        split = self.splitter(writer, norm, calls)
        if split is None or not (split.keeps or writer.results[0].has_one_use()):
            return
        if not all(_hoist(value, writer) for value in norm.inputs[1:]):
            return
        scaled, sums = _write(writer, norm, split)
        for reader, choice, place in zip(calls, split.readers, split.places, strict=True):
            _read(reader, norm, choice, scaled, sums, place)
        Rewriter.erase_op(norm)
        Rewriter.erase_op(writer)


def _write(writer: KernelCallOp, norm: KernelCallOp, split: NormSplit) -> tuple[SSAValue, SSAValue]:
    """A call of the new writer instead of the old one; the values and sums that it returns."""
    rows = norm.results[0].type
    assert isinstance(rows, TensorType), "activations are tensors"
    shape = (*rows.get_shape()[:1], split.sums)
    kinds = [result.type for result in writer.results]
    if not split.keeps:
        kinds = kinds[1:]
    more: list[Attribute] = [rows, TensorType(f32, shape)]
    kinds = [*kinds, *more] if split.keeps else [more[0], *kinds, more[1]]
    inputs = [*writer.inputs, *norm.inputs[1:]]
    call = _called(writer, split.writer, inputs, kinds)
    Rewriter.insert_op(call, InsertPoint.before(writer))
    record_kernel(call, split.writer)
    given = call.results if split.keeps else (None, *call.results[1:-1])
    for old, new in zip(writer.results, given, strict=False):
        if new is not None:
            old.replace_all_uses_with(new)
    return (call.results[-2] if split.keeps else call.results[0]), call.results[-1]


def _read(
    reader: KernelCallOp,
    norm: KernelCallOp,
    choice: KernelChoice,
    scaled: SSAValue,
    sums: SSAValue,
    place: int,
) -> None:
    inputs = [scaled if value is norm.results[0] else value for value in reader.inputs]
    inputs.insert(place, sums)
    call = _called(reader, choice, inputs, [result.type for result in reader.results])
    Rewriter.insert_op(call, InsertPoint.before(reader))
    record_kernel(call, choice)
    for old, new in zip(reader.results, call.results, strict=True):
        new.name_hint = old.name_hint
        old.replace_all_uses_with(new)
    Rewriter.erase_op(reader)


def _called(
    old: KernelCallOp,
    choice: KernelChoice,
    inputs: Sequence[SSAValue],
    kinds: Sequence[Attribute],
) -> KernelCallOp:
    results: list[SSAValue] = list(old.results)
    updates = [
        (results.index(new), inputs.index(state)) for new, state in old.state_updates.items()
    ]
    call = KernelCallOp(
        inputs,
        symbol=choice.symbol,
        result_types=[kinds],
        family=choice.family,
        arguments=choice.arguments,
        workspaces=old.workspaces,
        spec=choice.spec,
        updates=updates,
        layer=old.layer,
    )
    if "computes" in old.attributes:
        call.attributes["computes"] = old.attributes["computes"]
    return call


def _hoist(value: SSAValue, op: Operation) -> bool:
    """Move what computes a value before an operation; whether it is there then."""
    if precedes(value, op):
        return True
    owner = value.owner
    if not isinstance(owner, Operation) or owner.parent is not op.parent:
        return False
    if not all(_hoist(operand, op) for operand in owner.operands):
        return False
    owner.detach()
    Rewriter.insert_op(owner, InsertPoint.before(op))
    return True
