"""The matrices of an ONNX model that are integers."""

from collections.abc import Mapping
from dataclasses import dataclass

from sala_compile.codegen.onnx_import.grouped_integers import GroupedIntegers
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.checkpoint.mixed_integers import MixedIntegers
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr


@dataclass(frozen=True, slots=True)
class _Rows:
    """One weight whose scales float16 holds."""

    checkpoint: Checkpoint
    tensor: GroupedIntegers

    @property
    def encoding(self) -> EncodingAttr:
        """How the integers are stored."""
        return self.tensor.encoding

    @property
    def members(self) -> tuple[str, ...]:
        """The weight itself."""
        return (self.tensor.name,)

    def check(self) -> None:
        """Scales were looked at when it was found."""

    def whole(self) -> Integers:
        """All rows."""
        return self.rows(0, self.tensor.shape[0])

    def rows(self, start: int, stop: int) -> Integers:
        """Rows [start, stop)."""
        file = self.checkpoint.descriptor(self.tensor.path)
        return self.tensor.integers(file, start, stop)


class OnnxIntegers(MixedIntegers):
    """Weights of integers; `others` are those with scales that float16 does not hold."""

    def __init__(self, checkpoint: Checkpoint, expected: Mapping[str, tuple[int, ...]]) -> None:
        """Take the matrices that are integers; one of another shape is left to a later check."""
        exact: dict[str, _Rows] = {}
        others: list[tuple[GroupedIntegers, str]] = []
        for name, shape in expected.items():
            tensor = checkpoint.tensors.get(name)
            if not isinstance(tensor, GroupedIntegers) or tensor.shape != tuple(shape):
                continue
            if tensor.has_narrow_scales(checkpoint.descriptor(tensor.path)):
                exact[name] = _Rows(checkpoint, tensor)
            else:
                others.append((tensor, f"int{tensor.bits} with scales that float16 lacks"))
        wanted = "scales that float16 holds"
        super().__init__("integers in ONNX", checkpoint, exact, others, wanted)
