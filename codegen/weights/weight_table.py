"""The stored weights of an artifact: equal expressions are stored once."""

from dataclasses import replace

from xdsl.ir import SSAValue

from sala_compile.codegen.weights.packing import PackedWeight, packed_weight
from sala_compile.passes.support.weight_names import weight_key, weight_name


class WeightTable:
    """Every stored weight, by name and by the expression that it holds."""

    def __init__(self) -> None:
        self.weights: dict[str, PackedWeight] = {}
        self._names: dict[str, str] = {}

    def add(self, value: SSAValue, reader: str = "cpu") -> str:
        """The name under which `value`, which targets of a kind read, is stored."""
        key = weight_key(value)
        if key not in self._names:
            name = self._free_name(weight_name(value))
            self._names[key] = name
            self.weights[name] = packed_weight(name, value)
        name = self._names[key]
        known = self.weights[name]
        if reader not in known.readers:
            self.weights[name] = replace(known, readers=(*known.readers, reader))
        return name

    def name_of(self, value: SSAValue) -> str:
        """The name of a value that is stored."""
        return self._names[weight_key(value)]

    def _free_name(self, name: str) -> str:
        candidates = [name, *(f"{name}.{n}" for n in range(2, len(self.weights) + 3))]
        return next(found for found in candidates if found not in self.weights)
