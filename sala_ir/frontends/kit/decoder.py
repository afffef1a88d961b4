"""The skeleton of decoders: norm, mixer, residual, norm, gated MLP, residual, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xdsl.ir import SSAValue

from sala_compile.sala_ir.attention_sizes import Heads
from sala_compile.sala_ir.dialect import (
    EmbeddingOp,
    LogitsOp,
    ResidualAddOp,
    SoftmaxAttentionOp,
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


@dataclass(frozen=True, slots=True)
class Decoder:
    """Emits a model into a step; the scales are 1 but for muP."""

    step: StepWriter
    config: DecoderConfig
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logit_scale: float = 1.0

    def emit(self, mixer: Mixer) -> SSAValue:
        """All layers; the result is the logits of the wanted rows."""
        step, config = self.step, self.config
        shape = (config.vocab_size, config.hidden_size)
        embedding = step.weight(step.root + EMBEDDING, shape)
        tokens = step.arguments["tokens"]
        hidden = step.emit(EmbeddingOp(tokens, embedding, scale=self.embedding_scale), "hidden")
        for layer in range(config.num_hidden_layers):
            step.layer = layer
            x = step.norm(hidden, "input_layernorm", config.rms_norm_eps)
            hidden = self._residual(hidden, mixer(x))
            x = step.norm(hidden, "post_attention_layernorm", config.rms_norm_eps)
            inner, bias = config.intermediate_size, config.mlp_bias
            hidden = self._residual(hidden, gated_mlp(step, x, "mlp.", inner, bias=bias))
        step.layer = None
        normal = step.norm(hidden, "norm", config.rms_norm_eps)
        tied = config.tie_word_embeddings
        head = embedding if tied else step.weight(HEAD, shape, WeightRole.HEAD)
        rows = step.arguments["logit_rows"]
        return step.emit(LogitsOp(normal, rows, head, scale=self.logit_scale), "logits")

    def _residual(self, hidden: SSAValue, branch: SSAValue) -> SSAValue:
        op = ResidualAddOp(hidden, branch, scale=self.residual_scale, layer=self.step.layer)
        return self.step.emit(op, "hidden")


def gated_mlp(
    step: StepWriter, x: SSAValue, prefix: str, inner: int, *, bias: bool = False
) -> SSAValue:
    """down(silu(gate(x)) * up(x)), `inner` columns wide; all three with a bias, or none."""
    gate, up = (step.linear(x, f"{prefix}{name}_proj", inner, bias=bias) for name in ("gate", "up"))
    product = step.emit(SwigluOp(gate, up, layer=step.layer), "inner")
    return step.linear(product, f"{prefix}down_proj", columns_of(x), bias=bias)


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
