"""The skeleton of decoders: norm, mixer, residual, norm, gated MLP, residual, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from xdsl.ir import SSAValue

from sala_compile.sala_ir.attention_sizes import Heads
from sala_compile.sala_ir.dialect import (
    EmbeddingOp,
    LogitsOp,
    ResidualAddOp,
    SelectedAttentionOp,
    SoftmaxAttentionOp,
    SquaredReluOp,
    SwigluOp,
    WeightRole,
    columns_of,
)
from sala_compile.sala_ir.frontends.kit.config import DecoderConfig
from sala_compile.sala_ir.frontends.kit.step import StepWriter

HEAD, EMBEDDING = "lm_head.weight", "embed_tokens.weight"
"""The head by its whole name, the embedding after the root of the step."""
PAGE_TOKENS = 64
"""Tokens of a page of keys and values, where no selection of blocks asks for another size."""

Mixer = Callable[[SSAValue], SSAValue]
"""From the normalised rows of the current layer to what joins the residual stream."""


Factors = tuple[float, float]
"""Of the stream, and of what joins it."""


@dataclass(frozen=True, slots=True)
class LayerNorms:
    """The two norms of a layer by the names of their weights.

    They are of what mixer and MLP read, or with `after` of what they add to the stream. With
    `factors`, of the mixer and of the MLP, the stream goes on from its norm: norm * first +
    branch * second. Without an `mlp` the layer is a mixer alone. An empty name: there is no norm.
    """

    mixer: str = "input_layernorm"
    mlp: str | None = "post_attention_layernorm"
    after: bool = False
    factors: tuple[Factors, Factors] | None = None


class Streams(Protocol):
    """Several residual streams in place of one: how they begin, what a block does, how they end."""

    def begin(self, step: StepWriter, hidden: SSAValue) -> SSAValue:
        """The streams before the first layer, of the embedding."""
        ...

    def around(self, step: StepWriter, x: SSAValue, place: int, part: Mixer) -> SSAValue:
        """The streams after a mixer (place 0) or an MLP (1); `part` begins with its norm."""
        ...

    def end(self, step: StepWriter, x: SSAValue) -> SSAValue:
        """What the last norm reads."""
        ...


@dataclass(frozen=True, slots=True)
class Decoder:
    """Emits a model into a step; the scales are 1 but for muP. `mlp` replaces the gated one.

    Weights of norms are stored less `norm_offset`. With `streams` a layer has both norms before.
    """

    step: StepWriter
    config: DecoderConfig
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logit_scale: float = 1.0
    final_norm: str = "norm"
    mlp: Mixer | None = None
    norm_offset: float = 0.0
    embedding: str = EMBEDDING
    streams: Streams | None = None

    def emit(
        self, mixer: Mixer, norms: Callable[[int], LayerNorms] = lambda layer: LayerNorms()
    ) -> SSAValue:
        """All layers with their norms; the result is the logits of the wanted rows."""
        step, config = self.step, self.config
        shape = (config.vocab_size, config.hidden_size)
        embedding = step.weight(step.root + self.embedding, shape)
        tokens = step.arguments["tokens"]
        hidden = step.emit(EmbeddingOp(tokens, embedding, scale=self.embedding_scale), "hidden")
        if self.streams is not None:
            hidden = self.streams.begin(step, hidden)
        for layer in range(config.num_hidden_layers):
            step.layer = layer
            own = norms(layer)
            parts = [(own.mixer, mixer)]
            if own.mlp is not None:
                parts.append((own.mlp, self.mlp or self._gated_mlp))
            for index, (norm, part) in enumerate(parts):
                if self.streams is not None:
                    hidden = self.streams.around(step, hidden, index, self._after(norm, part))
                elif own.factors is None:
                    hidden = self._branch(hidden, norm, part, after=own.after)
                else:
                    hidden = self._from_norm(hidden, norm, part, own.factors[index])
        step.layer = None
        if self.streams is not None:
            hidden = self.streams.end(step, hidden)
        normal = self._norm(hidden, self.final_norm)
        tied = config.tie_word_embeddings
        head = embedding if tied else step.weight(HEAD, shape, WeightRole.HEAD)
        rows = step.arguments["logit_rows"]
        return step.emit(LogitsOp(normal, rows, head, scale=self.logit_scale), "logits")

    def _after(self, norm: str, part: Mixer) -> Mixer:
        """A part of a layer with its norm before it."""
        return lambda x: part(self._norm(x, norm))

    def _branch(self, hidden: SSAValue, norm: str, part: Mixer, *, after: bool) -> SSAValue:
        """The stream with what a part of the layer adds."""
        step = self.step
        branch = part(hidden if after else self._norm(hidden, norm))
        if after:
            branch = self._norm(branch, norm)
        op = ResidualAddOp(hidden, branch, scale=self.residual_scale, layer=step.layer)
        return step.emit(op, "hidden")

    def _from_norm(self, hidden: SSAValue, norm: str, part: Mixer, factors: Factors) -> SSAValue:
        """The norm of the stream with what a part of the layer adds; both times their factors."""
        step, (kept, added) = self.step, factors
        branch = part(self._norm(hidden, norm))
        stream = self._norm(hidden, norm, kept)
        op = ResidualAddOp(stream, branch, scale=added, layer=step.layer)
        return step.emit(op, "hidden")

    def _norm(self, x: SSAValue, name: str, scale: float = 1.0) -> SSAValue:
        if not name:
            return x
        eps, offset = self.config.rms_norm_eps, self.norm_offset
        return self.step.norm(x, name, eps, offset=offset, scale=scale)

    def _gated_mlp(self, x: SSAValue) -> SSAValue:
        inner, bias = self.config.intermediate_size, self.config.mlp_bias
        return gated_mlp(self.step, x, "mlp.", inner, bias=bias)


def gated_mlp(
    step: StepWriter, x: SSAValue, prefix: str, inner: int, *, bias: bool = False, limit: float = 0
) -> SSAValue:
    """down(silu(gate(x)) * up(x)), `inner` columns wide; all three with a bias, or none.

    A `limit` above 0 is that of `sala.swiglu`.
    """
    gate, up = (step.linear(x, f"{prefix}{name}_proj", inner, bias=bias) for name in ("gate", "up"))
    product = step.emit(SwigluOp(gate, up, limit=float(limit), layer=step.layer), "inner")
    return step.linear(product, f"{prefix}down_proj", columns_of(x), bias=bias)


def squared_mlp(step: StepWriter, x: SSAValue, prefix: str, inner: int) -> SSAValue:
    """down(max(up(x), 0)^2), `inner` columns wide, without biases."""
    up = step.linear(x, f"{prefix}up_proj", inner)
    product = step.emit(SquaredReluOp(up, layer=step.layer), "inner")
    return step.linear(product, f"{prefix}down_proj", columns_of(x))


def softmax_attention(
    step: StepWriter,
    batch: SSAValue,
    qkv: tuple[SSAValue, SSAValue, SSAValue],
    heads: Heads,
) -> SSAValue:
    """Causal attention to all of the past."""
    op = SoftmaxAttentionOp(
        *qkv,
        step.state("kv_cache"),
        batch,
        heads=heads,
        layer=step.layer,
    )
    step.update(kv_cache=op.kv_out)
    return step.emit(op, "mixed", "kv_cache")


def selected_attention(
    step: StepWriter,
    batch: SSAValue,
    qkv: tuple[SSAValue, SSAValue, SSAValue],
    heads: Heads,
    selection: SSAValue,
    pool: int,
) -> SSAValue:
    """Causal attention to the chosen pools of `pool` tokens, and to the one that is open."""
    op = SelectedAttentionOp(
        *qkv,
        step.state("kv_cache"),
        batch,
        selection,
        heads=heads,
        pool=pool,
        layer=step.layer,
    )
    step.update(kv_cache=op.kv_out)
    return step.emit(op, "mixed", "kv_cache")
