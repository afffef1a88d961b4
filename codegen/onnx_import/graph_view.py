"""A foreign graph as a pattern reads it: back from a value to what made it, every node once."""

from collections.abc import Collection
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from sala_compile.codegen.onnx_import.found_decoder import FoundIntegers, FoundMatrix
from sala_compile.codegen.onnx_import.model_file import ModelFile
from sala_compile.runtime.errors import CheckpointError

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
"""Types that a value may be cast to and stay what it is, for a pattern."""
WHOLE = (TensorProto.INT32, TensorProto.INT64)
"""Types that token ids and positions may be cast to."""
ROWS_READ = 1 << 16
"""Values of a table that are read at most."""


class GraphView:
    """Nodes by what they make. What no pattern has taken at the end is not understood.

    Patterns look through identities and casts to floats: exporters put these wherever a sum or a
    norm has another type than the weights. `place` names the node that was taken last.
    """

    def __init__(self, file: ModelFile) -> None:
        self.file = file
        graph = file.model.graph
        self._made = {name: node for node in graph.node for name in node.output if name}
        self._inline = {each.name: each for each in graph.initializer}
        self._inputs = {each.name for each in graph.input}
        self._taken: set[str] = set()
        self.place = "the graph"
        self._check_order()
        self._sources = {
            node.output[0]: node.input[0]
            for node in graph.node
            if node.op_type == "Identity" or (node.op_type == "Cast" and _type(node) in FLOATS)
        }

    def _check_order(self) -> None:
        """Refuse a graph whose nodes are in no order, or that makes a value twice."""
        known = self._inputs | self._inline.keys() | {""}
        for node in self.file.model.graph.node:
            for name in node.input:
                if name not in known:
                    expected = "nodes after those that they read"
                    raise self.refuse(node, f"it reads {name}, which is not there yet", expected)
            for name in node.output:
                if name in known and name:
                    raise self.refuse(node, f"{name} is made twice", "each value once")
            known.update(node.output)

    def maker(self, value: str) -> NodeProto | None:
        """The node that makes a value; None for an input or an initializer."""
        return self._made.get(self.through(value))

    def is_made_by(self, value: str, *kinds: str) -> bool:
        """Whether a node of one of these kinds makes a value."""
        node = self.maker(value)
        return node is not None and node.op_type in kinds

    def take(self, value: str, *kinds: str) -> NodeProto:
        """The node that makes a value, of one of these kinds; else CheckpointError."""
        node = self.maker(value)
        if node is None or node.op_type not in kinds:
            found = "no node makes it" if node is None else f"it is made by {node.op_type}"
            raise self.refuse(node or value, found, " or ".join(kinds))
        self._taken.add(node.output[0])
        self.place = node.name or node.output[0]
        return node

    def through(self, value: str) -> str:
        """The value behind identities and casts to floats."""
        while value in self._sources:
            value = self._sources[value]
        return value

    def inputs(self, node: NodeProto) -> list[str]:
        """What a node reads, behind identities and casts to floats."""
        return [self.through(name) for name in node.input]

    def whole_number(self, value: str) -> str:
        """The value of integers behind casts to others that hold it, or to floats."""
        while self.is_made_by(value, "Cast"):
            node = self.take(value, "Cast")
            if _type(node) not in WHOLE:
                raise self.refuse(node, "the cast does not hold all integers", "int32 or int64")
            value = node.input[0]
        return self.through(value)

    def has_taken(self, kind: str) -> bool:
        """Whether a node of that kind was taken."""
        nodes = self.file.model.graph.node
        return any(n.op_type == kind and self._taken & set(n.output) for n in nodes)

    def take_before(self, value: str, kinds: Collection[str], inputs: Collection[str]) -> None:
        """Take all that a value is computed from: these kinds of nodes, these inputs."""
        value = self.through(value)
        if not value or value in self._inline or self._is_taken(value):
            return
        if value in self._inputs:
            if value not in inputs:
                raise self.refuse(value, "the input has an effect here", " or ".join(inputs))
            return
        node = self.take(value, *kinds)
        if node.op_type != "Shape":  # of which only the sizes have an effect
            for name in node.input:
                self.take_before(name, kinds, inputs)

    def _is_taken(self, value: str) -> bool:
        node = self._made.get(value)
        return node is not None and node.output[0] in self._taken

    def is_weight(self, value: str) -> bool:
        """Whether a value is an initializer in a file of its own."""
        return self.through(value) in self.file.tensors

    def shape_of(self, matrix: FoundMatrix | FoundIntegers) -> tuple[int, int]:
        """Rows and columns of a weight."""
        if isinstance(matrix, FoundIntegers):
            rows, columns = matrix.whole.shape
        else:
            rows, columns = self.file.tensors[matrix.name].shape
            if matrix.transposed:
                rows, columns = columns, rows
        return matrix.rows or rows, columns

    def constant(self, value: str) -> np.ndarray | None:
        """A constant, or the first values of a stored tensor; None for what is computed."""
        value = self.through(value)
        if value in self.file.tensors:
            tensor = self.file.tensors[value]
            rows = min(tensor.shape[0], max(1, ROWS_READ // max(1, *tensor.shape[1:], 1)))
            with tensor.path.open("rb") as file:
                return tensor.read(file.fileno(), 0, rows).astype(np.float32)
        if value in self._inline:
            return numpy_helper.to_array(self._inline[value])
        if not self.is_made_by(value, "Constant"):
            return None
        (attribute,) = self.take(value, "Constant").attribute
        found: Any = helper.get_attribute_value(attribute)
        return numpy_helper.to_array(found) if isinstance(found, TensorProto) else np.array(found)

    def attributes(self, node: NodeProto) -> dict[str, Any]:
        """The attributes of a node as plain values."""
        return {each.name: helper.get_attribute_value(each) for each in node.attribute}

    def require(self, node: NodeProto, expected: dict[str, Any]) -> None:
        """Refuse a node with attributes that are there and differ."""
        for name, found in self.attributes(node).items():
            if name in expected and found != expected[name]:
                raise self.refuse(node, f"{name} is {found}", f"{name} {expected[name]}")

    def require_all_taken(self) -> None:
        """Refuse a graph with nodes that no pattern took."""
        for node in self.file.model.graph.node:
            is_free = node.op_type == "Constant" or node.output[0] in self._sources
            if not is_free and not self._taken & set(node.output):
                raise self.refuse(
                    node, f"{node.op_type} is no part of the model", "only nodes of the decoder"
                )

    def refuse(self, place: NodeProto | str, found: str, expected: str) -> CheckpointError:
        """The error for a node, or for a value, that a pattern does not have."""
        name = place if isinstance(place, str) else place.name or place.output[0]
        return self.file.error(
            name,
            found,
            f"{expected}, as in a Llama or Qwen of onnxruntime-genai's builder or of optimum",
            "name the checkpoint that the model was exported from",
        )


def _type(cast: NodeProto) -> int:
    """What a `Cast` makes of a value; 0 where it does not say."""
    return next((each.i for each in cast.attribute if each.name == "to"), 0)
