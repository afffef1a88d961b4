"""Attention as torch's exporter writes it out: products, softmax, rotated halves."""

import ml_dtypes
import numpy as np

from sala_compile.codegen.onnx_import.found_decoder import FoundAttention, FoundLinear, FoundNorm
from sala_compile.codegen.onnx_import.graph_view import GraphView
from sala_compile.codegen.onnx_import.match_parts import match_linear, match_norm
from sala_compile.codegen.onnx_import.rotary_table import FoundRotary

SIZES = (
    *("Shape", "Gather", "Unsqueeze", "Concat", "Constant", "Cast", "Mul", "Div", "Add", "Slice"),
    *("Reshape", "Equal", "Where", "ConstantOfShape", "Squeeze"),
)
"""Nodes that compute the shape of a value."""
MASK = (*SIZES, "Range", "LessOrEqual", "And", "Expand", "Flatten")
"""Nodes of the mask: what compares for a window is none of them."""
HEADS_FIRST = {"perm": [0, 2, 1, 3]}


def match_written_out(view: GraphView, value: str) -> FoundAttention:
    """The attention that makes a value [batch, sequence, columns]."""
    product = view.take(_unfolded(view, value), "MatMul")
    weights, values = product.input
    if view.is_made_by(weights, "Where"):  # rows without any key
        where = view.take(weights, "Where")
        is_nan, _, weights = view.inputs(where)
        if view.inputs(view.take(is_nan, "IsNaN")) != [weights]:
            raise view.refuse(where, "the weights are masked", "only those that are no numbers")
        _number(view, where.input[1])
    softmax = view.take(weights, "Softmax")
    view.require(softmax, {"axis": -1})
    total = view.take(softmax.input[0], "Add")
    scores = view.take(total.input[0], "MatMul")
    _take_mask(view, total.input[1])
    query, query_scale, query_error = _scaled(view, scores.input[0])
    keys, key_scale, key_error = _scaled(view, scores.input[1])
    keys = view.take(keys, "Transpose")
    view.require(keys, {"perm": [0, 1, 3, 2]})
    key, past = _appended(view, keys.input[0], "key")
    value_heads, _ = _appended(view, values, "value")
    query, rotary = _rotated(view, query)
    key, other = _rotated(view, key)
    if rotary != other:
        raise view.refuse(scores, "queries and keys have other frequencies", "the same")
    query_linear, query_norm = _projected(view, query)
    key_linear, key_norm = _projected(view, key)
    value_linear, _ = _projected(view, value_heads)
    if not query_linear.x == key_linear.x == value_linear.x:
        raise view.refuse(scores, "query, key and value read different values", "one norm")
    size = 2 * len(rotary.frequencies)
    return FoundAttention(
        query=query_linear,
        key=key_linear,
        value=value_linear,
        query_norm=query_norm,
        key_norm=key_norm,
        num_heads=view.shape_of(query_linear.matrix)[0] // size,
        kv_heads=view.shape_of(key_linear.matrix)[0] // size,
        scale=query_scale * key_scale,
        scale_error=query_error + key_error,
        rotary=rotary,
        positions=0,
        past=past,
    )


def _unfolded(view: GraphView, value: str) -> str:
    """Heads [batch, heads, sequence, size] before they were joined to columns."""
    joined = view.take(value, "Reshape")
    view.take_before(joined.input[1], SIZES, ())
    heads = view.take(joined.input[0], "Transpose")
    view.require(heads, HEADS_FIRST)
    return heads.input[0]


def _take_mask(view: GraphView, mask: str) -> None:
    """The causal mask: 0 where the past and a real token is, and the least number elsewhere."""
    where = view.take(mask, "Where")
    if _number(view, where.input[1]) != 0 or _number(view, where.input[2]) > -1e4:
        raise view.refuse(where, "the mask adds other numbers", "0, or the least number")
    view.take_before(where.input[0], MASK, ("attention_mask",))
    if not view.has_taken("LessOrEqual"):
        raise view.refuse(where, "the mask compares no positions", "a causal mask")


def _scaled(view: GraphView, value: str) -> tuple[str, float, float]:
    """A value, the constant that it is multiplied by, and the relative error of its type."""
    node = view.take(value, "Mul")
    scaled, factor = view.inputs(node)
    found = _constant(view, factor)
    return scaled, float(found.item()), float(ml_dtypes.finfo(found.dtype).eps)


def _number(view: GraphView, value: str) -> float:
    return float(_constant(view, value).item())


def _constant(view: GraphView, value: str) -> np.ndarray:
    found = view.constant(value)
    if found is None or found.size != 1 or found.dtype.kind in "biu":
        raise view.refuse(value, "the number is computed", "a constant of floats")
    return found


def _appended(view: GraphView, value: str, part: str) -> tuple[str, str]:
    """New keys or values after the past ones, repeated for the heads of a group; both."""
    if view.is_made_by(value, "Reshape"):
        folded = view.take(value, "Reshape")
        view.take_before(folded.input[1], SIZES, ())
        repeated = view.take(folded.input[0], "Expand")
        view.take_before(repeated.input[1], SIZES, ())
        value = view.take(repeated.input[0], "Unsqueeze").input[0]
    joined = view.take(value, "Concat")
    view.require(joined, {"axis": -2})
    past, new = view.inputs(joined)
    if not past.endswith(f".{part}"):
        raise view.refuse(joined, f"it continues {past}", f"past_key_values.N.{part}")
    return new, past


def _rotated(view: GraphView, value: str) -> tuple[str, FoundRotary]:
    """x * cos + [-x_high, x_low] * sin: x and the rotation."""
    total = view.take(value, "Add")
    straight, turned = (view.take(each, "Mul") for each in total.input)
    x = view.inputs(straight)[0]
    halves = view.take(turned.input[0], "Concat")
    view.require(halves, {"axis": -1})
    high = view.take(view.take(halves.input[0], "Neg").input[0], "Slice")
    low = view.take(halves.input[1], "Slice")
    first = view.constant(low.input[1])
    if {view.inputs(high)[0], view.inputs(low)[0]} != {x} or first is None or first.tolist() != [0]:
        raise view.refuse(halves, "other parts of a head change places", "its halves")
    for slices in (high, low):
        for bound in slices.input[1:]:
            view.take_before(bound, SIZES, ())
    angles, factor = _angles(view, straight.input[1], "Cos")
    if _angles(view, turned.input[1], "Sin") != (angles, factor):
        raise view.refuse(total, "cosines and sines are of other angles", "the same angles")
    frequencies = _frequencies(view, angles)
    if not (np.isfinite(frequencies) & (frequencies > 0)).all() or not 0 < factor < np.inf:
        raise view.refuse(total, "a frequency or the factor is not above 0", "a rotation")
    return x, FoundRotary(tuple(frequencies.astype(np.float64).tolist()), factor)


def _angles(view: GraphView, value: str, kind: str) -> tuple[str, float]:
    """The angles whose cosines or sines a value is, for every head, and what multiplies these."""
    scaled = view.take(view.take(value, "Unsqueeze").input[0], "Mul")
    (angles,) = view.inputs(view.take(scaled.input[0], kind))
    return angles, _number(view, scaled.input[1])


def _frequencies(view: GraphView, angles: str) -> np.ndarray:
    """The frequencies by which positions are multiplied; angles are those of both halves."""
    both = view.take(angles, "Concat")
    if len(set(view.inputs(both))) > 1:
        raise view.refuse(both, "the halves have other angles", "the same")
    product = view.take(view.take(both.input[0], "Transpose").input[0], "MatMul")
    position = view.whole_number(view.take(product.input[1], "Unsqueeze").input[0])
    if position != "position_ids":
        raise view.refuse(product, f"{position} is rotated by", "position_ids")
    expanded = view.take(product.input[0], "Expand")
    view.take_before(expanded.input[1], SIZES, ())
    found = view.constant(expanded.input[0])
    if found is None:
        raise view.refuse(expanded, "the frequencies are computed", "a constant")
    return found.reshape(-1)


def _projected(view: GraphView, value: str) -> tuple[FoundLinear, FoundNorm | None]:
    """The linear whose columns are the heads [batch, heads, sequence, size], and their norm."""
    heads = view.take(value, "Transpose")
    view.require(heads, HEADS_FIRST)
    split, norm = heads.input[0], None
    if not view.is_made_by(split, "Reshape"):
        split, norm = match_norm(view, split)
    node = view.take(split, "Reshape")
    view.take_before(node.input[1], SIZES, ())
    return match_linear(view, node.input[0]), norm
