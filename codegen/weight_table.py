"""Names of the packed weights: equal expressions are stored once."""

from xdsl.ir import Operation, SSAValue

from codegen.packing import PackedWeight, packed_weight


def expression(value: SSAValue) -> str:
    """A canonical text of a weight expression; equal texts have equal values."""
    op = value.owner
    assert isinstance(op, Operation), "a weight is made by an operation"
    if op.name == "sala.weight":
        return f"{stored_names(value)[0]}:{value.type}"
    properties = ",".join(f"{name}={found}" for name, found in sorted(op.properties.items()))
    operands = ",".join(expression(operand) for operand in op.operands)
    return f"{op.name}{{{properties}}}({operands}):{value.type}"


def stored_names(value: SSAValue) -> tuple[str, ...]:
    """The checkpoint's tensors under a weight expression, in order, each once."""
    op = value.owner
    assert isinstance(op, Operation), "a weight is made by an operation"
    if op.name == "sala.weight":
        name: object = op.properties["tensor_name"]
        return (str(getattr(name, "data", name)),)
    found = [name for operand in op.operands for name in stored_names(operand)]
    return tuple(dict.fromkeys(found))


def merged_name(names: tuple[str, ...]) -> str:
    """One name for several tensors: `layers.0.self_attn.{q_proj,k_proj}.weight`."""
    if len(names) == 1:
        return names[0]
    parts = [name.split(".") for name in names]
    shortest = min(len(part) for part in parts)
    head = next((i for i in range(shortest) if len({p[i] for p in parts}) > 1), shortest)
    tail = next((i for i in range(shortest - head) if len({p[-1 - i] for p in parts}) > 1), 0)
    middles = [".".join(part[head : len(part) - tail]) for part in parts]
    ends = (*parts[0][:head], "{" + ",".join(middles) + "}", *parts[0][len(parts[0]) - tail :])
    return ".".join(ends)


class WeightTable:
    """Every stored weight of an artifact, by name and by the expression that it holds."""

    def __init__(self) -> None:
        self.weights: dict[str, PackedWeight] = {}
        self._names: dict[str, str] = {}

    def add(self, value: SSAValue) -> str:
        """The name under which `value` is stored."""
        key = expression(value)
        if key not in self._names:
            name = self._free_name(merged_name(stored_names(value)), value)
            self._names[key] = name
            self.weights[name] = packed_weight(name, value)
        return self._names[key]

    def _free_name(self, name: str, value: SSAValue) -> str:
        candidates = [name, f"{name}:{packed_weight(name, value).layout}"]
        candidates += [f"{name}:{count}" for count in range(2, len(self.weights) + 3)]
        return next(found for found in candidates if found not in self.weights)
