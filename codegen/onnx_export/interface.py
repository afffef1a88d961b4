"""Inputs and outputs of an exported model, under the names of the ecosystem."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onnx import TensorProto, ValueInfoProto, helper

from sala_compile.codegen.onnx_export.batch_values import ATTENTION_MASK, CALL_LENGTHS, INPUT_IDS
from sala_compile.codegen.onnx_export.element import OnnxElement
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.dialect import (
    CompressedKeysType,
    ConvolutionWindowType,
    KvCacheType,
    RecentKeysType,
    RecurrentStateType,
    StateType,
)

LOGITS = "logits"
BATCH, SEQUENCE, PAST, TOTAL = "batch", "sequence", "past", "past + sequence"
"""Names of the dynamic axes."""


@dataclass(frozen=True, slots=True)
class StateTensor:
    """One tensor of a layer's state: its name, shape with an axis `tokens`, and element type."""

    name: str
    shape: Callable[[str], tuple[str | int, ...]]
    tensor_type: int

    def past(self, layer: str) -> ValueInfoProto:
        """The input."""
        name = f"past_key_values.{layer}.{self.name}"
        return helper.make_tensor_value_info(name, self.tensor_type, self.shape(PAST))

    def present(self, layer: str) -> ValueInfoProto:
        """The output that the next call gets as its input."""
        name = f"present.{layer}.{self.name}"
        return helper.make_tensor_value_info(name, self.tensor_type, self.shape(TOTAL))


def state_tensors(kind: StateType, element: OnnxElement, name: str) -> tuple[StateTensor, ...]:
    """What a state consists of; `name` is that of its kind, of which a layer may have several.

    Compressed keys are computed from all keys: they have no tensor, and keys that only choose
    blocks are there from the first token on, not the recent ones alone.
    """
    match kind:
        case KvCacheType():
            heads, size = kind.kv_heads.data, kind.head_dim.data

            def pages(tokens: str) -> tuple[str | int, ...]:
                return BATCH, heads, tokens, size

            return tuple(StateTensor(n, pages, element.tensor_type) for n in ("key", "value"))
        case RecentKeysType():
            heads, size = kind.kv_heads.data, kind.head_dim.data
            return (
                StateTensor(
                    "choosing_key",
                    lambda tokens: (BATCH, heads, tokens, size),
                    element.tensor_type,
                ),
            )
        case CompressedKeysType():
            return ()
        case RecurrentStateType():
            sizes = kind.sizes
            return (
                StateTensor("recurrent_state", lambda tokens: (BATCH, *sizes), TensorProto.FLOAT),
            )
        case ConvolutionWindowType():
            window = kind.sizes
            return (StateTensor(name, lambda tokens: (BATCH, *window), TensorProto.FLOAT),)
        case _:
            raise CompileError(
                f"the model keeps a state that has no form in ONNX: {kind}", where="--emit onnx"
            )


def batch_inputs(with_call_lengths: bool) -> Sequence[ValueInfoProto]:
    """The inputs that are no state, all int64."""
    inputs: list[tuple[str, tuple[str, ...]]] = [
        (INPUT_IDS, (BATCH, SEQUENCE)),
        (ATTENTION_MASK, (BATCH, TOTAL)),
    ]
    if with_call_lengths:
        inputs.append((CALL_LENGTHS, (BATCH,)))
    return [helper.make_tensor_value_info(n, TensorProto.INT64, shape) for n, shape in inputs]


def logits_output(vocabulary: int) -> ValueInfoProto:
    """The logits of every new token, float32 [batch, sequence, vocabulary]."""
    shape = (BATCH, SEQUENCE, vocabulary)
    return helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, shape)
