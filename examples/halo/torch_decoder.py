"""A decoder in torch, layer by layer, through the differentiable reference of `sala_ir`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import array_api_compat.torch as namespace
import numpy as np
import torch
from torch.utils.checkpoint import checkpoint
from xdsl.dialects.builtin import ModuleOp
from xdsl.interpreter import Interpreter
from xdsl.ir import Operation, SSAValue

from examples.halo.decoder_parts import DecoderParts
from sala_compile.runtime.artifact.batch_fields import InputName, PlainChunk
from sala_compile.sala_ir import reference
from sala_compile.sala_ir.frontends import AttentionMode
from sala_compile.sala_ir.interpreter import Numerics, SalaFunctions, step_inputs
from sala_compile.sala_ir.interpreter.weight_rows import WholeTensors
from sala_compile.sala_ir.reference import LightningForm
from sala_compile.sala_ir.reference.lightning import Recurrence

Values = dict[SSAValue, Any]
"""Values of a step that all layers share: the batch, rotary tables, weights."""
Branch = Callable[[torch.Tensor], torch.Tensor]
"""A mixer: normalised rows [rows, hidden] -> what joins the residual stream."""


class TorchDecoder:
    """Computes the parts of a decoder with weights by their names in the checkpoint.

    Values are float32 on the device of the weights, whatever the weights are stored in; autocast
    of the caller decides what matrices are multiplied in. The rows of a step are those of all
    texts, one after the other: [texts * tokens, columns].
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Mapping[str, torch.Tensor],
        *,
        attention: AttentionMode = AttentionMode.DENSE,
        lightning: LightningForm | Recurrence = LightningForm.CHUNKED,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config, self.weights, self.lightning = config, weights, lightning
        self.parts = DecoderParts.of(config, attention)
        device = next(iter(weights.values())).device
        numerics = Numerics(namespace=namespace, dtype=dtype, device=device, lightning=lightning)
        functions = SalaFunctions(WholeTensors(weights.__getitem__), numerics)
        self._interpreter = Interpreter(ModuleOp([]))
        self._interpreter.register_implementations(functions)

    def begin(self, token_ids: torch.Tensor, call_length: int | None = None) -> Values:
        """What all layers share, for new texts of int64 ids [texts, tokens].

        `call_length` tokens decide between dense and sparse attention; by default those given.
        """
        texts, tokens = token_ids.shape
        none = np.zeros(tokens, np.int32)
        chunks = [PlainChunk(none, 0, call_length or tokens, slot) for slot in range(texts)]
        inputs: dict[str, Any] = dict(step_inputs(chunks))
        inputs[InputName.TOKENS] = token_ids.reshape(-1)
        inputs[InputName.LOGIT_ROWS] = np.arange(texts * tokens, dtype=np.int32)
        values: Values = {
            value: {} if name in self.parts.states else inputs.get(name)
            for name, value in self.parts.arguments.items()
        }
        self._run(self.parts.prelude, values)
        return values

    def stream(self, values: Values) -> torch.Tensor:
        """The residual stream before layer 0: [rows, hidden]."""
        return values[self.parts.stream]

    def normal(self, values: Values, layer: int, stream: torch.Tensor) -> torch.Tensor:
        """What the mixer of a layer reads."""
        part = self.parts.layers[layer]
        return self._value(part.before, values, {part.stream: stream}, part.normal)

    def mixer(self, values: Values, layer: int, normal: torch.Tensor) -> torch.Tensor:
        """What the mixer of a layer adds to the stream, before the residual's scale."""
        part = self.parts.layers[layer]
        return self._value(part.mixer, values, {part.normal: normal}, part.branch)

    def inner(
        self, values: Values, layer: int, normal: torch.Tensor, wanted: Sequence[SSAValue]
    ) -> list[torch.Tensor]:
        """Values inside of the mixer of a layer, or its branch."""
        part = self.parts.layers[layer]
        found = {**values, part.normal: normal}
        self._run(part.mixer, found)
        return [found[value] for value in wanted]

    def rest(
        self, values: Values, layer: int, stream: torch.Tensor, branch: torch.Tensor
    ) -> torch.Tensor:
        """The stream after the layer, from the stream before it and the mixer's branch."""
        part = self.parts.layers[layer]
        given = {part.stream: stream, part.branch: branch}
        return self._value(part.after, values, given, part.result)

    def layer(
        self, values: Values, layer: int, stream: torch.Tensor, mixer: Branch | None = None
    ) -> torch.Tensor:
        """The stream after a layer; `mixer` takes the place of its own."""
        normal = self.normal(values, layer, stream)
        branch = self.mixer(values, layer, normal) if mixer is None else mixer(normal)
        return self.rest(values, layer, stream, branch)

    def final(
        self,
        token_ids: torch.Tensor,
        call_length: int | None = None,
        *,
        recompute: bool = False,
        mixers: Mapping[int, Branch] | None = None,
    ) -> torch.Tensor:
        """What the head reads, [texts * tokens, hidden], of texts [texts, tokens].

        With `recompute` only the stream between layers is kept for the backward pass.
        """
        values = self.begin(token_ids, call_length)
        stream = self.stream(values)
        for number in range(len(self.parts.layers)):
            own = (mixers or {}).get(number)
            if recompute and torch.is_grad_enabled():
                stream = checkpoint(self.layer, values, number, stream, own, use_reentrant=False)
            else:
                stream = self.layer(values, number, stream, own)
        return self.end(values, stream)

    def end(self, values: Values, stream: torch.Tensor) -> torch.Tensor:
        """What the head reads, from the stream after the last layer."""
        last = self.parts.layers[-1].result
        return self._value(self.parts.tail, values, {last: stream}, self.parts.final)

    def logits(self, final: torch.Tensor) -> torch.Tensor:
        """Logits [rows, vocabulary] of any rows of `final`."""
        rows = np.arange(len(final))
        scale = self.parts.logits.parameters["scale"]
        return reference.logits(final, rows, self.head, scale=scale)

    @property
    def head(self) -> torch.Tensor:
        """The weight of the head, the embedding's where they are tied: [vocabulary, hidden]."""
        owner = self.parts.logits.weight.owner
        return self.weights[owner.tensor_name.data]

    def _value(
        self, ops: Iterable[Operation], shared: Values, given: Values, wanted: SSAValue
    ) -> torch.Tensor:
        values = {**shared, **given}
        self._run(ops, values)
        return values[wanted]

    def _run(self, ops: Iterable[Operation], values: Values) -> None:
        for op in ops:
            inputs = tuple(values[operand] for operand in op.operands)
            values.update(zip(op.results, self._interpreter.run_op(op, inputs), strict=True))
