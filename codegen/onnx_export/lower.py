"""The captured graph, operation by operation, as an ONNX graph without the bytes of weights."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from onnx import FunctionProto, GraphProto, ValueInfoProto, helper
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation

from sala_compile.codegen.onnx_export.batch_values import INPUT_IDS
from sala_compile.codegen.onnx_export.element import OnnxElement
from sala_compile.codegen.onnx_export.initializer import Initializer
from sala_compile.codegen.onnx_export.interface import (
    LOGITS,
    batch_inputs,
    logits_output,
    state_tensors,
)
from sala_compile.codegen.onnx_export.lowerings import (
    lower_elementwise,
    lower_mixers,
    lower_norm_rope,
    lower_projections,
    lower_recurrence,
)
from sala_compile.codegen.onnx_export.step_graph import Lowerings, StepGraph, refused
from sala_compile.sala_ir.dialect import (
    MakeBatchOp,
    StateType,
    WeightType,
    columns_of,
)


def _make_batch(op: MakeBatchOp, step: StepGraph) -> None:
    """Its fields are inputs of the model or follow from them."""
    step.define(op.batch, step.batch)


LOWERINGS: Lowerings = {
    MakeBatchOp: _make_batch,
    **lower_projections.LOWERINGS,
    **lower_norm_rope.LOWERINGS,
    **lower_elementwise.LOWERINGS,
    **lower_mixers.LOWERINGS,
    **lower_recurrence.LOWERINGS,
}


@dataclass(frozen=True, slots=True)
class LoweredModel:
    """A graph whose weights are still to be stored, and the functions that it calls.

    `integers` are bits and columns of each weight of integers.
    """

    graph: GraphProto
    functions: Sequence[FunctionProto]
    weights: Sequence[Initializer]
    integers: Mapping[str, tuple[int, int]]


def lower_to_onnx(captured: ModuleOp, element: OnnxElement) -> LoweredModel:
    """Lower the function `@step` of a captured module.

    Raises `CompileError` for an operation that only passes make, and for a kind of state that has
    no form in ONNX.
    """
    (function,) = (op for op in captured.walk() if isinstance(op, FuncOp))
    step = StepGraph(element)
    states = list(_declare_arguments(function, step))
    *body, end = function.body.block.ops
    assert isinstance(end, ReturnOp), "a step returns the logits and its states"
    for op in body:
        _lower(op, step)
    logits, *updated = end.operands
    shape = step.batch.shape_of(columns_of(logits))
    step.writer.add("Reshape", step.rows(logits), shape, hint="all_logits")
    outputs = {LOGITS: step.writer.nodes[-1].output[0]}
    infos = [logits_output(columns_of(logits))]
    for state, value in zip(states, updated, strict=True):
        for (_, present), name in zip(state, step.value(value), strict=True):
            outputs[present.name] = name
            infos.append(present)
    _name_outputs(outputs, step)
    inputs = [past for state in states for past, _ in state]
    graph = helper.make_graph(
        step.writer.nodes,
        "step",
        [*batch_inputs(step.batch.uses_call_lengths), *inputs],
        infos,
        step.writer.constants,
        value_info=step.writer.described,
    )
    functions = list(step.functions.used.values())
    return LoweredModel(graph, functions, step.weights.tensors, step.weights.sizes)


def _declare_arguments(
    function: FuncOp, step: StepGraph
) -> Iterator[list[tuple[ValueInfoProto, ValueInfoProto]]]:
    """Define the arguments; the inputs and outputs of each state."""
    assert function.arg_attrs is not None, "a step's arguments have names"
    for argument, attributes in zip(function.args, function.arg_attrs, strict=True):
        name = cast(StringAttr, attributes.data["sala.name"]).data
        if isinstance(argument.type, StateType):
            layer, _, kind = name.removeprefix("layers.").partition(".")
            tensors = state_tensors(argument.type, step.element, kind)
            pairs = [(tensor.past(layer), tensor.present(layer)) for tensor in tensors]
            step.define(argument, tuple(step.writer.take(past.name) for past, _ in pairs))
            yield pairs
        elif name == "tokens":
            step.define(argument, step.writer.take(INPUT_IDS))


def _lower(op: Operation, step: StepGraph) -> None:
    if op.results and isinstance(op.results[0].type, WeightType):
        return  # evaluated where it is stored
    lowering = LOWERINGS.get(type(op))  # pyright: ignore[reportArgumentType]
    if lowering is None:
        raise refused(op, "the operation has no form in ONNX", "an operation of a captured graph")
    layer = getattr(op, "layer", None)
    with step.writer.scope("" if layer is None else f"layers.{layer}"):
        lowering(op, step)


def _name_outputs(outputs: dict[str, str], step: StepGraph) -> None:
    """Give results the names of the outputs; what is no node's result of its own is copied."""
    made = {name for node in step.writer.nodes for name in node.output}
    renamed: dict[str, str] = {}
    for output, name in outputs.items():
        if name in made and name not in renamed:
            renamed[name] = step.writer.take(output)
        else:
            copy = step.writer.add("Identity", renamed.get(name, name), hint=output)
            assert copy == output, f"{output} is taken"
    for node in step.writer.nodes:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
