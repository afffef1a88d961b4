"""The decoder in a foreign graph, matched from the logits back to the token ids."""

from dataclasses import dataclass

from sala_compile.codegen.onnx_import.found_decoder import (
    FoundDecoder,
    FoundIntegers,
    FoundLayer,
    FoundMatrix,
    FoundNorm,
)
from sala_compile.codegen.onnx_import.graph_view import GraphView
from sala_compile.codegen.onnx_import.match_attention import match_attention
from sala_compile.codegen.onnx_import.match_integers import (
    match_first_columns,
    match_integer_rows,
)
from sala_compile.codegen.onnx_import.match_parts import (
    decimal,
    match_linear,
    match_matrix,
    match_norm,
)

EMBEDDINGS = ("Gather", "GatherBlockQuantized")


@dataclass(frozen=True, slots=True)
class _Sum:
    """A residual stream: what came in, and the branch that is added; no branch at the embedding."""

    stream: str
    branch: str


def match_decoder(view: GraphView) -> FoundDecoder:
    """The model; CheckpointError with the first node that no dense decoder has."""
    head = match_linear(view, "logits")
    norm, total = _norm_of_sum(view, head.x)
    layers: list[FoundLayer] = []
    while total.branch:
        layer, total = _layer(view, total)
        layers.insert(0, layer)
    embedding = _embedding(view, total.stream)
    view.require_all_taken()
    return FoundDecoder(embedding, tuple(layers), norm, head)


def _embedding(view: GraphView, stream: str) -> FoundMatrix | FoundIntegers:
    """The weight whose rows begin the residual stream."""
    columns = None
    if view.is_made_by(stream, "Slice"):  # of columns that fill up the last group
        stream, columns = match_first_columns(view, view.take(stream, "Slice"))
    gather = view.take(stream, *EMBEDDINGS)
    if view.whole_number(gather.input[1]) != "input_ids":
        raise view.refuse(gather, f"it takes the rows {gather.input[1]}", "input_ids")
    if gather.op_type == "Gather" and columns is None:
        return match_matrix(view, gather.input[0], as_rows=True)
    return match_integer_rows(view, gather, columns)


def _layer(view: GraphView, total: _Sum) -> tuple[FoundLayer, _Sum]:
    """The last layer of a residual stream, and the stream before it."""
    down = match_linear(view, total.branch)
    product = view.take(down.x, "Mul")
    silu, up_value = view.inputs(product)
    if not view.is_made_by(silu, "Mul"):
        silu, up_value = up_value, silu
    gate_value = _gate(view, silu)
    gate, up = match_linear(view, gate_value), match_linear(view, up_value)
    if gate.x != up.x:
        raise view.refuse(product, "gate and up read different values", "one norm before both")
    mlp_norm, middle = _norm_of_sum(view, gate.x, total.stream)
    output = match_linear(view, middle.branch)
    attention = match_attention(view, output.x)
    input_norm, before = _norm_of_sum(view, attention.query.x, middle.stream)
    layer = FoundLayer(input_norm, attention, output, mlp_norm, gate, up, down)
    return layer, before


def _gate(view: GraphView, silu: str) -> str:
    """The value whose SiLU, its product with its own sigmoid, a value is."""
    node = view.take(silu, "Mul")
    first, second = view.inputs(node)
    for gate, sigmoid in ((first, second), (second, first)):
        if view.is_made_by(sigmoid, "Sigmoid"):
            if view.inputs(view.take(sigmoid, "Sigmoid")) == [gate]:
                return gate
            raise view.refuse(node, "the gate is not times its own sigmoid", "SiLU")
    makers = (view.maker(value) for value in (first, second))
    kinds = " and ".join(maker.op_type for maker in makers if maker is not None)
    raise view.refuse(node, f"the gate is made by {kinds}", "SiLU")


def _norm_of_sum(view: GraphView, value: str, stream: str | None = None) -> tuple[FoundNorm, _Sum]:
    """The norm that makes a value, and the residual sum that it reads, which is `stream`."""
    if view.is_made_by(value, "SkipSimplifiedLayerNormalization"):
        node = view.take(value, "SkipSimplifiedLayerNormalization")
        if stream is not None and view.through(stream) not in list(node.output)[3:4]:
            raise view.refuse(node, "the next sum does not read this one", "a residual stream")
        if len(node.input) > 3 and node.input[3]:
            raise view.refuse(node, "a bias is added", "none")
        eps = view.attributes(node).get("epsilon", 1e-5)
        x, branch, weight, *_ = view.inputs(node)
        return FoundNorm(weight, decimal(eps)), _Sum(x, branch)
    x, norm = match_norm(view, value)
    if stream is not None and view.through(stream) != x:
        raise view.refuse(value, "the next sum does not read what is normed", "a residual stream")
    if view.is_made_by(x, *EMBEDDINGS, "Slice"):
        return norm, _Sum(x, "")
    first, second = view.inputs(view.take(x, "Add"))
    return norm, _Sum(first, second)
