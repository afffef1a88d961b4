"""Matrices, linears and norms in a foreign graph."""

import numpy as np

from sala_compile.codegen.onnx_import.found_decoder import FoundLinear, FoundMatrix, FoundNorm
from sala_compile.codegen.onnx_import.graph_view import GraphView
from sala_compile.codegen.onnx_import.match_integers import match_integers


def match_matrix(view: GraphView, value: str, *, as_rows: bool) -> FoundMatrix:
    """A stored matrix; `as_rows` where it is read as [rows, columns] of a weight."""
    flipped = False
    while not view.is_weight(value):
        if view.is_made_by(value, "DequantizeLinear"):
            expected = "floats, or the integers of MatMulNBits"
            raise view.refuse(value, "the weight is made by DequantizeLinear", expected)
        node = view.take(value, "Transpose")
        view.require(node, {"perm": [1, 0]})
        flipped = not flipped
        value = node.input[0]
    value = view.through(value)
    if len(view.file.tensors[value].shape) != 2:
        raise view.refuse(value, "the tensor is no matrix", "two dimensions")
    return FoundMatrix(value, transposed=flipped if as_rows else not flipped)


def match_linear(view: GraphView, value: str) -> FoundLinear:
    """x W, and a bias where one is added."""
    bias = ""
    node = view.take(value, "MatMul", "Add", "Gemm", "MatMulNBits")
    if node.op_type == "Add":
        first, second = view.inputs(node)
        value, bias = (second, first) if view.is_weight(first) else (first, second)
        if not view.is_weight(bias):
            raise view.refuse(node, "two computed values are added", "a bias")
        node = view.take(value, "MatMul", "MatMulNBits")
    if node.op_type == "MatMulNBits":
        integers, added = match_integers(view, node)
        if bias and added:
            raise view.refuse(node, "two biases are added", "one")
        return FoundLinear(view.inputs(node)[0], integers, bias or added)
    if node.op_type == "Gemm":
        view.require(node, {"alpha": 1.0, "beta": 1.0, "transA": 0})
        rows = bool(view.attributes(node).get("transB", 0))
        x, weight, *rest = view.inputs(node)
        return FoundLinear(x, match_matrix(view, weight, as_rows=rows), "".join(rest))
    x, weight = view.inputs(node)
    return FoundLinear(x, match_matrix(view, weight, as_rows=False), bias)


def match_norm(view: GraphView, value: str) -> tuple[str, FoundNorm]:
    """What an RMS norm of the last axis reads, and the norm."""
    if view.is_made_by(value, "Mul"):
        return _written_out_norm(view, value)
    node = view.take(value, "SimplifiedLayerNormalization", "RMSNormalization")
    view.require(node, {"axis": -1})
    eps = view.attributes(node).get("epsilon", 1e-5)
    x, weight = view.inputs(node)
    if not view.is_weight(weight):
        raise view.refuse(node, "its weight is computed", "a stored weight")
    return x, FoundNorm(weight, decimal(eps))


def _written_out_norm(view: GraphView, value: str) -> tuple[str, FoundNorm]:
    """weight * (x * (1 / sqrt(mean(x ** 2) + eps))), as torch's exporter writes it."""
    node = view.take(value, "Mul")
    weight, normal = view.inputs(node)
    if not view.is_weight(weight):
        weight, normal = normal, weight
    if not view.is_weight(weight):
        raise view.refuse(node, "it multiplies two computed values", "a norm's stored weight")
    x, inverse = view.inputs(view.take(normal, "Mul"))
    division = view.take(inverse, "Div", "Reciprocal")
    root = division.input[-1]
    if division.op_type == "Div":
        _require_number(view, division.input[0], 1.0)
    total = view.take(view.take(root, "Sqrt").input[0], "Add")
    mean, eps = total.input
    average = view.take(mean, "ReduceMean")
    axes = view.attributes(average).get("axes")
    found = view.constant(average.input[1]) if axes is None else np.array(axes)
    if found is None or found.tolist() != [-1]:
        raise view.refuse(average, f"the mean is over the axes {found}", "the last one")
    power = view.take(average.input[0], "Pow")
    _require_number(view, power.input[1], 2.0)
    if view.through(power.input[0]) != x:
        raise view.refuse(power, "the mean is of another value", "what is normed")
    number = view.constant(eps)
    if number is None or number.size != 1:
        raise view.refuse(total, "epsilon is computed", "a constant")
    return x, FoundNorm(weight, decimal(number.item()))


def _require_number(view: GraphView, value: str, expected: float) -> None:
    found = view.constant(value)
    if found is None or found.size != 1 or found.item() != expected:
        raise view.refuse(value, f"the constant is {found}", str(expected))


def decimal(value: float) -> float:
    """The shortest decimal number of a float32."""
    return float(str(np.float32(value)))
