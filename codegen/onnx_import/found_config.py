"""The configuration and the tensors of a decoder that was found in a foreign graph."""

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from sala_compile.codegen.onnx_import.found_decoder import (
    FoundAttention,
    FoundDecoder,
    FoundIntegers,
    FoundLinear,
    FoundMatrix,
)
from sala_compile.codegen.onnx_import.graph_view import GraphView
from sala_compile.codegen.onnx_import.rotary_table import FoundRotary
from sala_compile.codegen.onnx_import.tensor_slice import TensorSlice
from sala_compile.runtime.common.json_text import is_object
from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.safetensors_file import CheckpointTensor

GENAI_CONFIG = "genai_config.json"
COMPARED_BYTES = 1 << 24


class FoundModel:
    """A found decoder as a family's config and tensors under the family's names."""

    def __init__(self, view: GraphView, decoder: FoundDecoder) -> None:
        self._view, self._decoder = view, decoder

    @property
    def config(self) -> dict[str, Any]:
        """What config.json of the checkpoint says; CheckpointError where layers differ."""
        first, decoder = self._decoder.layers[0].attention, self._decoder
        sizes = [
            self._common(f"layers of several {what}", values)
            for what, values in (
                ("head counts", ((a.num_heads, a.kv_heads) for a in self._attentions())),
                ("epsilons", self._epsilons()),
                ("shapes of biases", ((bool(a.query.bias)) for a in self._attentions())),
                ("norms of heads", (a.query_norm is not None for a in self._attentions())),
                ("rotary tables", (a.rotary for a in self._attentions())),
                ("factors of scores", (a.scale for a in self._attentions())),
            )
        ]
        (heads, kv_heads), eps, has_bias, has_norms, _, scale = sizes
        for index, attention in enumerate(self._attentions()):
            if attention.past != f"past_key_values.{index}.key":
                raise self._refuse(f"layer {index} continues {attention.past}", "its own keys")
        head_dim = 2 * len(first.rotary.frequencies)
        if not np.isclose(scale, head_dim**-0.5, rtol=first.scale_error):
            raise self._refuse(f"scores are multiplied by {scale}", f"{head_dim}**-0.5")
        output_bias = bool(decoder.layers[0].output.bias)
        rows, hidden = self._view.shape_of(decoder.embedding)
        inner, _ = self._view.shape_of(decoder.layers[0].gate.matrix)
        family = "qwen3" if has_norms else "qwen2" if has_bias and not output_bias else "llama"
        return {
            "model_type": family,
            "vocab_size": rows,
            "hidden_size": hidden,
            "intermediate_size": inner,
            "num_hidden_layers": len(decoder.layers),
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "head_dim": head_dim,
            "hidden_act": "silu",
            **({"max_position_embeddings": first.positions} if first.positions else {}),
            "rms_norm_eps": eps,
            **self._rope(first.rotary),
            "tie_word_embeddings": self._is_tied,
            **({} if family == "qwen2" else {"attention_bias": output_bias}),
            **self._ends(),
        }

    @property
    def tensors(self) -> dict[str, CheckpointTensor]:
        """The weights by the family's names."""
        return dict(self._named())

    @cached_property
    def _is_tied(self) -> bool:
        """Whether the head is the embedding's matrix, or a transposed copy of it to the bit."""
        pair = self._decoder.head.matrix, self._decoder.embedding
        if pair[0] == pair[1]:
            return True
        if any(isinstance(each, FoundIntegers) for each in pair):
            return False
        if self._decoder.head.bias or len({self._view.shape_of(each) for each in pair}) > 1:
            return False
        (_, head), (_, embedding) = (self._matrix("", matrix) for matrix in pair)
        step = max(1, COMPARED_BYTES // head.row_bytes)
        with head.path.open("rb") as one, embedding.path.open("rb") as other:
            readers = ((head, one.fileno()), (embedding, other.fileno()))
            for start in range(0, head.shape[0], step):
                stop = min(start + step, head.shape[0])
                ours, theirs = (tensor.read(file, start, stop) for tensor, file in readers)
                if not np.array_equal(ours, theirs):
                    return False
        return True

    def _attentions(self) -> Iterator[FoundAttention]:
        return (layer.attention for layer in self._decoder.layers)

    def _epsilons(self) -> Iterator[float]:
        yield self._decoder.norm.eps
        for layer in self._decoder.layers:
            norms = (layer.attention.query_norm, layer.attention.key_norm)
            yield from (layer.input_norm.eps, layer.mlp_norm.eps)
            yield from (norm.eps for norm in norms if norm is not None)

    def _named(self) -> Iterator[tuple[str, CheckpointTensor]]:
        decoder = self._decoder
        yield self._matrix("model.embed_tokens.weight", decoder.embedding)
        for index, layer in enumerate(decoder.layers):
            prefix, attention = f"model.layers.{index}.", layer.attention
            linears = {
                "self_attn.q_proj": attention.query,
                "self_attn.k_proj": attention.key,
                "self_attn.v_proj": attention.value,
                "self_attn.o_proj": layer.output,
                "mlp.gate_proj": layer.gate,
                "mlp.up_proj": layer.up,
                "mlp.down_proj": layer.down,
            }
            for name, linear in linears.items():
                yield from self._linear(prefix + name, linear)
            norms = {
                "input_layernorm": layer.input_norm,
                "post_attention_layernorm": layer.mlp_norm,
                "self_attn.q_norm": attention.query_norm,
                "self_attn.k_norm": attention.key_norm,
            }
            for name, norm in norms.items():
                if norm is not None:
                    yield self._vector(f"{prefix}{name}.weight", norm.weight)
        yield self._vector("model.norm.weight", decoder.norm.weight)
        if not self._is_tied:
            yield from self._linear("lm_head", decoder.head)

    def _linear(self, name: str, linear: FoundLinear) -> Iterator[tuple[str, CheckpointTensor]]:
        yield self._matrix(f"{name}.weight", linear.matrix)
        if linear.bias:
            yield self._vector(f"{name}.bias", linear.bias, linear.matrix)

    def _matrix(
        self, name: str, matrix: FoundMatrix | FoundIntegers
    ) -> tuple[str, CheckpointTensor]:
        shape = self._view.shape_of(matrix)
        if isinstance(matrix, FoundIntegers):
            return name, matrix.whole.rows_from(name, matrix.first, shape[0])
        found = self._view.file.tensors[matrix.name]
        place = found.path, found.element
        return name, TensorSlice(
            name, *place, shape, found.begin, found.shape, matrix.first, matrix.transposed
        )

    def _vector(
        self, name: str, stored: str, part: FoundMatrix | FoundIntegers | None = None
    ) -> tuple[str, CheckpointTensor]:
        found = self._view.file.tensors.get(stored)
        if found is None:
            raise self._view.refuse(stored, "it is no stored weight", "a vector of the model")
        first, rows = (0, 0) if part is None else (part.first, part.rows)
        shape = (rows or found.shape[0],)
        return name, TensorSlice(
            name, found.path, found.element, shape, found.begin, found.shape, first, False
        )

    def _rope(self, rotary: FoundRotary) -> Mapping[str, Any]:
        """The base of the frequencies, or all of them where they are powers of none."""
        theta = rotary.theta
        if theta is not None and rotary.factor == 1.0:
            return {"rope_theta": theta}
        frequencies, factor = list(rotary.frequencies), rotary.factor
        kind = {"rope_type": "frequencies", "inverse_frequencies": frequencies}
        return {"rope_scaling": {**kind, "attention_factor": factor}}

    def _ends(self) -> Mapping[str, Any]:
        """The token ids that genai_config.json names, where it is there."""
        path = self._view.file.path.parent / GENAI_CONFIG
        try:
            document = json.loads(path.read_text())
        except (OSError, ValueError):
            return {}
        model = document.get("model") if is_object(document) else None
        names = ("bos_token_id", "eos_token_id")
        return {name: model[name] for name in names if name in model} if is_object(model) else {}

    def _common(self, what: str, values: Any) -> Any:
        found = list(values)
        if any(value != found[0] for value in found):
            raise self._refuse(f"the graph has {what}", "layers that are alike")
        return found[0]

    def _refuse(self, found: str, expected: str) -> CheckpointError:
        return self._view.refuse("the graph", found, expected)
