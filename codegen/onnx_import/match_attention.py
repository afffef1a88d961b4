"""Grouped-query attention with its projections in a foreign graph."""

from dataclasses import replace

import numpy as np
from onnx import NodeProto

from sala_compile.codegen.onnx_import.found_decoder import FoundAttention, FoundLinear, FoundNorm
from sala_compile.codegen.onnx_import.graph_view import GraphView
from sala_compile.codegen.onnx_import.match_parts import decimal, match_linear, match_norm
from sala_compile.codegen.onnx_import.match_written_out import match_written_out
from sala_compile.codegen.onnx_import.rotary_table import TABLE_ERRORS, rotary_of_tables

LENGTH_NODES = ("Cast", "Sub", "ReduceSum", "Shape", "Gather", "Constant")
"""Nodes between the mask and the lengths of the sequences."""
QUERY_NORM = 14
"""Place of the weight of the query heads' norm in the operator's inputs; the keys' is next."""
PLAIN = {
    "local_window_size": -1,
    "softcap": 0.0,
    "rotary_interleaved": 0,
    "smooth_softmax": 0,
    "do_rotary": 1,
    "qk_output": 0,
}
"""Attributes of attention over all of the past, with rotated halves."""


def match_attention(view: GraphView, value: str) -> FoundAttention:
    """The attention that makes a value: one operator with rotary tables, or written out."""
    if not view.is_made_by(value, "GroupQueryAttention"):
        return match_written_out(view, value)
    node = view.take(value, "GroupQueryAttention")
    view.require(node, PLAIN)
    sizes, inputs = view.attributes(node), [*view.inputs(node), *[""] * 16]
    if not sizes.get("do_rotary", 0) or not inputs[7]:
        raise view.refuse(node, "its heads are not rotated here", "do_rotary 1 with tables")
    for index in (5, 6):
        view.take_before(inputs[index], LENGTH_NODES, ("attention_mask",))
    extra = [name for name in (*inputs[9:QUERY_NORM], *inputs[QUERY_NORM + 2 :]) if name]
    if extra:
        raise view.refuse(node, f"it reads {extra[0]}", "no bias, sinks or scales")
    heads, kv_heads = sizes["num_heads"], sizes["kv_num_heads"]
    (cosines, positions, element), (sines, *_) = (_table(view, node, inputs[n]) for n in (7, 8))
    rotary = rotary_of_tables(cosines, sines, element)
    if rotary is None:
        raise view.refuse(node, "the rotary tables are of no frequencies", "cosines and sines")
    if not rotary.is_exact and (rotary.theta is None or rotary.factor != 1.0):
        found = f"the rotary tables are scaled, and {element} does not state their frequencies"
        raise view.refuse(node, found, "tables of float32, or of the powers of a base")
    size = 2 * len(rotary.frequencies)
    linears, norms = _projections(view, node, heads * size, kv_heads * size)
    query, key, value_linear = linears
    inner = _inner_norms(view, node, inputs[QUERY_NORM : QUERY_NORM + 2])
    if inner and any(norms):
        raise view.refuse(node, "it norms heads that are normed already", "one norm of each head")
    query_norm, key_norm = inner or norms
    return FoundAttention(
        query=query,
        key=key,
        value=value_linear,
        query_norm=query_norm,
        key_norm=key_norm,
        num_heads=heads,
        kv_heads=kv_heads,
        scale=sizes.get("scale") or size**-0.5,
        rotary=rotary,
        positions=positions,
        past=inputs[3],
    )


def _table(view: GraphView, node: NodeProto, name: str) -> tuple[np.ndarray, int, str]:
    """The first rows of a rotary table, how many it has, and its element type."""
    found, stored = view.constant(name), view.file.tensors.get(name)
    if found is None or stored is None or found.ndim != 2 or stored.element not in TABLE_ERRORS:
        raise view.refuse(node, f"{name} is no stored table", "cosines and sines by position")
    return found, stored.shape[0], stored.element


def _projections(
    view: GraphView, node: NodeProto, columns: int, kv_columns: int
) -> tuple[list[FoundLinear], list[FoundNorm | None]]:
    """Query, key and value, of one matrix or three, and the norms of query and key heads."""
    sizes = (columns, kv_columns, kv_columns)
    if not node.input[1]:
        return _parts(match_linear(view, node.input[0]), sizes), [None, None]
    linears: list[FoundLinear] = []
    norms: list[FoundNorm | None] = []
    for index, value in enumerate(node.input[:3]):
        if index < 2:
            value, norm = _head_norm(view, value)
            norms.append(norm)
        if view.is_made_by(value, "Split"):
            split = view.take(value, "Split")
            place = list(split.output).index(value)
            linears.append(_parts(match_linear(view, split.input[0]), sizes)[place])
        else:
            linears.append(match_linear(view, value))
    if len({each.x for each in linears}) > 1:
        raise view.refuse(node, "query, key and value read different values", "one norm before all")
    return linears, norms


def _inner_norms(
    view: GraphView, node: NodeProto, weights: list[str]
) -> tuple[FoundNorm, FoundNorm] | None:
    """The norms of query and key heads that the operator itself computes, before it rotates."""
    if not any(weights):
        return None
    eps = view.attributes(node).get("qk_norm_epsilon")
    if eps is None or not all(view.is_weight(name) for name in weights):
        raise view.refuse(node, "it norms heads", "stored weights of both norms, and an epsilon")
    query, key = (FoundNorm(name, decimal(eps)) for name in weights)
    return query, key


def _head_norm(view: GraphView, value: str) -> tuple[str, FoundNorm | None]:
    """The value before the norm of its heads, where there is one."""
    if not view.is_made_by(value, "Reshape"):
        return value, None
    normal, norm = match_norm(view, view.take(value, "Reshape").input[0])
    return view.take(normal, "Reshape").input[0], norm


def _parts(packed: FoundLinear, sizes: tuple[int, ...]) -> list[FoundLinear]:
    """The linears that one matrix holds, one after the other."""
    firsts = np.cumsum([0, *sizes[:-1]]).tolist()
    return [
        replace(packed, matrix=replace(packed.matrix, first=first, rows=size))
        for first, size in zip(firsts, sizes, strict=True)
    ]
