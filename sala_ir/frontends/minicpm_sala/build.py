"""From a config to the captured `@step`: one op for each equation, everything f32."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.ir import SSAValue

from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.dialect import (
    CompressedKeysType,
    EmbeddingOp,
    KvCacheType,
    LinearOp,
    LogitsOp,
    RecurrentStateType,
    ResidualAddOp,
    RmsNormOp,
    RopeTableOp,
    SwigluOp,
)
from sala_compile.sala_ir.frontends.attention import AttentionMode
from sala_compile.sala_ir.frontends.kit.frequencies import inverse_frequencies
from sala_compile.sala_ir.frontends.minicpm_sala.config import (
    MiniCPMSalaConfig,
    MixerType,
    SparseConfig,
)
from sala_compile.sala_ir.frontends.minicpm_sala.mixers import (
    LayerInputs,
    emit_lightning_layer,
    emit_sparse_layer,
)
from sala_compile.sala_ir.frontends.minicpm_sala.step import StepWriter
from sala_compile.sala_ir.frontends.minicpm_sala.tensors import (
    EMBEDDING,
    FINAL_NORM,
    HEAD,
    expected_tensors,
    layer_prefix,
)


def build_module(
    config: MiniCPMSalaConfig, attention: AttentionMode = AttentionMode.CONFIG
) -> ModuleOp:
    """A verified module with one function `@step`: a ragged batch through the whole model.

    Raises `ConfigError` where sparse attention is asked of a config that does not describe it.
    """
    attention = _mode(config, attention)
    step = StepWriter(expected_tensors(config))
    step.inputs()
    _add_states(step, config, attention)
    module = step.finish(_Model(step, config, attention).emit())
    module.verify()
    return module


def _mode(config: MiniCPMSalaConfig, asked: AttentionMode) -> AttentionMode:
    """How the layers of attention read the past; without a sparse_config they are dense."""
    if config.sparse_config is not None:
        return asked
    if asked is AttentionMode.SPARSE:
        raise ConfigError(
            "the config has no sparse_config, so its model is dense",
            where="--attention sparse",
            expected="a config with a sparse_config",
            fix="leave --attention out, or add the sparse_config that the model was trained with",
        )
    return AttentionMode.DENSE


def _add_states(step: StepWriter, config: MiniCPMSalaConfig, attention: AttentionMode) -> None:
    sparse = config.sparse_config or SparseConfig()  # of a dense model: pages of the usual size
    kv_heads, size = config.num_key_value_heads, config.head_dim
    for layer, mixer in enumerate(config.mixer_types):
        name = f"layers.{layer}"
        if mixer is MixerType.LIGHTNING:
            heads, width = config.lightning_nh, config.lightning_head_dim
            state = RecurrentStateType(heads, width, width, f32)
            step.argument(f"{name}.recurrent_state", state)
            continue
        step.argument(f"{name}.kv_cache", KvCacheType(kv_heads, sparse.block_size, size, f32))
        if attention is not AttentionMode.DENSE:
            keys = CompressedKeysType(
                kv_heads, sparse.kernel_size, sparse.kernel_stride, sparse.block_size, size, f32
            )
            step.argument(f"{name}.compressed_keys", keys)


@dataclass(slots=True)
class _Model:
    """Emits the ops of the model into a step."""

    step: StepWriter
    config: MiniCPMSalaConfig
    attention: AttentionMode

    def emit(self) -> SSAValue:
        """All ops; the result is the logits of the asked rows."""
        step, config = self.step, self.config
        batch = step.batch()
        tables = self._rope_tables(batch)
        tokens, rows = step.arguments["tokens"], step.arguments["logit_rows"]
        hidden = step.emit(
            EmbeddingOp(tokens, step.weight(EMBEDDING), scale=config.scale_emb), "hidden"
        )
        for layer, mixer in enumerate(config.mixer_types):
            step.layer = layer
            hidden = self._layer(hidden, batch, tables, mixer)
        step.layer = None
        normal = self._norm(hidden, FINAL_NORM)
        head = step.weight(EMBEDDING if config.tie_word_embeddings else HEAD)
        return step.emit(LogitsOp(normal, rows, head, scale=config.logit_scale), "logits")

    def _rope_tables(self, batch: SSAValue) -> dict[MixerType, SSAValue]:
        """A table for each kind of layer that rotates; kinds with one head size share theirs."""
        config = self.config
        rotating = {
            MixerType.SPARSE: (config.attn_use_rope, config.head_dim),
            MixerType.LIGHTNING: (config.lightning_use_rope, config.lightning_head_dim),
        }
        by_size: dict[int, SSAValue] = {}
        tables: dict[MixerType, SSAValue] = {}
        for mixer, (rotates, size) in rotating.items():
            if not rotates or mixer not in config.mixer_types:
                continue
            if size not in by_size:
                frequencies = inverse_frequencies(config.rope_theta, size).tolist()
                table = RopeTableOp(batch, frequencies=frequencies)
                by_size[size] = self.step.emit(table, "rope_table")
            tables[mixer] = by_size[size]
        return tables

    def _layer(
        self,
        hidden: SSAValue,
        batch: SSAValue,
        tables: dict[MixerType, SSAValue],
        mixer: MixerType,
    ) -> SSAValue:
        step, layer = self.step, self.step.layer
        assert layer is not None
        prefix = layer_prefix(layer)
        x = self._norm(hidden, prefix + "input_layernorm.weight")
        inputs = LayerInputs(x, batch, tables.get(mixer), layer)
        if mixer is MixerType.SPARSE:
            mixed = emit_sparse_layer(step, self.config, inputs, self.attention)
        else:
            mixed = emit_lightning_layer(step, self.config, inputs)
        hidden = self._residual(hidden, mixed)
        x = self._norm(hidden, prefix + "post_attention_layernorm.weight")
        return self._residual(hidden, self._mlp(x, prefix + "mlp."))

    def _norm(self, x: SSAValue, weight: str) -> SSAValue:
        op = RmsNormOp(
            x, self.step.weight(weight), eps=self.config.rms_norm_eps, layer=self.step.layer
        )
        return self.step.emit(op, "normal")

    def _residual(self, hidden: SSAValue, branch: SSAValue) -> SSAValue:
        op = ResidualAddOp(hidden, branch, scale=self.config.residual_scale, layer=self.step.layer)
        return self.step.emit(op, "hidden")

    def _mlp(self, x: SSAValue, prefix: str) -> SSAValue:
        step, layer = self.step, self.step.layer
        gate, up = (
            step.emit(LinearOp(x, step.weight(f"{prefix}{name}_proj.weight"), layer=layer), name)
            for name in ("gate", "up")
        )
        inner = step.emit(SwigluOp(gate, up, layer=layer), "inner")
        down = step.weight(prefix + "down_proj.weight")
        return step.emit(LinearOp(inner, down, layer=layer), "down")
