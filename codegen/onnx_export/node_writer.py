"""Nodes and constants of a graph while it is being written, with names that people can read."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper


class NodeWriter:
    """Appends nodes in order; a value is known by its name.

    Names begin with the scope of what is being written, `layers.3/`, and are given once.
    """

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.described: list[ValueInfoProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], TensorProto] = {}
        self._taken: Counter[str] = Counter()
        self._scope = ""

    @property
    def constants(self) -> list[TensorProto]:
        """The constants, each once, in the order of their first use."""
        return list(self._constants.values())

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Names that are given inside begin with `name`, and a slash unless it is empty."""
        before, self._scope = self._scope, f"{name}/" if name else ""
        try:
            yield
        finally:
            self._scope = before

    def add(self, kind: str, *inputs: str, hint: str = "", **attributes: Any) -> str:
        """A node with one result; its name. An absent input is an empty name."""
        (result,) = self.add_all(kind, *inputs, hints=(hint or kind,), **attributes)
        return result

    def add_all(
        self, kind: str, *inputs: str, hints: tuple[str, ...], domain: str = "", **attributes: Any
    ) -> tuple[str, ...]:
        """A node with one result for each hint; their names."""
        results = tuple(self._name(hint) for hint in hints)
        node = helper.make_node(
            kind, inputs, results, name=f"{results[0]}:{kind}", domain=domain or None, **attributes
        )
        self.nodes.append(node)
        return results

    def describe(self, name: str, tensor_type: int, shape: tuple[int | None, ...]) -> None:
        """Say what a value is, of an operator that shape inference does not know."""
        self.described.append(helper.make_tensor_value_info(name, tensor_type, shape))

    def constant(self, values: Any, dtype: Any = np.int64) -> str:
        """A small constant that the model's file holds; its name."""
        array = np.asarray(values, dtype)
        key = array.dtype.name, array.shape, array.tobytes()
        if key not in self._constants:
            label = "x".join(map(str, array.shape)) or "scalar"
            with self.scope("constants"):
                name = self._name(f"{array.dtype.name}_{label}")
            self._constants[key] = numpy_helper.from_array(array, name)
        return self._constants[key].name

    def take(self, name: str) -> str:
        """Give a name that the ecosystem knows, as it is."""
        self._taken[name] += 1
        assert self._taken[name] == 1, f"{name} is taken"
        return name

    def _name(self, hint: str) -> str:
        base = self._scope + hint
        self._taken[base] += 1
        return base if self._taken[base] == 1 else f"{base}.{self._taken[base] - 1}"
