"""The two kinds of token mixers between input norm and residual add."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.ir import SSAValue

from sala_compile.sala_ir.dialect import (
    BlockSparseAttentionOp,
    LightningAttentionOp,
    LinearOp,
    OutputGateOp,
    RmsNormOp,
    RopeOp,
    SoftmaxAttentionOp,
)
from sala_compile.sala_ir.frontends.attention import AttentionMode
from sala_compile.sala_ir.frontends.minicpm_sala.config import MiniCPMSalaConfig
from sala_compile.sala_ir.frontends.minicpm_sala.slopes import lightning_slopes
from sala_compile.sala_ir.frontends.minicpm_sala.step import StepWriter
from sala_compile.sala_ir.frontends.minicpm_sala.tensors import layer_prefix
from sala_compile.sala_ir.sizes import BlockSelection, Heads


@dataclass(frozen=True, slots=True)
class LayerInputs:
    """What a mixer reads: the normalised rows, the batch, its rotary table if it rotates."""

    x: SSAValue
    batch: SSAValue
    table: SSAValue | None
    layer: int

    @property
    def prefix(self) -> str:
        """What the names of the mixer's tensors begin with."""
        return layer_prefix(self.layer) + "self_attn."

    def state(self, kind: str) -> str:
        """The argument name of a state of this layer."""
        return f"layers.{self.layer}.{kind}"


def emit_sparse_layer(
    step: StepWriter, config: MiniCPMSalaConfig, inputs: LayerInputs, attention: AttentionMode
) -> SSAValue:
    """Projections, attention, gate and output projection of a `minicpm4` layer."""
    q, k, v = (_project(step, inputs, name) for name in ("q", "k", "v"))
    q, k = (_rotate(step, inputs, value, config.head_dim) for value in (q, k))
    if attention is AttentionMode.DENSE:
        mixed = _dense(step, config, inputs, (q, k, v))
    else:
        mixed = _sparse(step, config, inputs, (q, k, v), attention)
    if config.attn_use_output_gate:
        mixed = _gate(step, inputs, mixed, "o_gate")
    return _linear(step, inputs, mixed, "o_proj", "mixed")


def emit_lightning_layer(
    step: StepWriter, config: MiniCPMSalaConfig, inputs: LayerInputs
) -> SSAValue:
    """Projections, norms, rotation, recurrence, gate and output projection of a Lightning layer."""
    q, k, v = (_project(step, inputs, name) for name in ("q", "k", "v"))
    size = config.lightning_head_dim
    if config.qk_norm:
        q = _norm(step, config, inputs, q, "q_norm")
        k = _norm(step, config, inputs, k, "k_norm")
    q, k = (_rotate(step, inputs, value, size) for value in (q, k))
    name = inputs.state("recurrent_state")
    op = LightningAttentionOp(
        q,
        k,
        v,
        step.arguments[name],
        inputs.batch,
        heads=Heads(
            config.lightning_nh, config.lightning_nkv, size, config.lightning_scale.factor(size)
        ),
        eps=config.rms_norm_eps,
        slopes=lightning_slopes(config.lightning_nh).tolist(),
        layer=inputs.layer,
    )
    mixed = step.emit(op, "mixed", "recurrent_state")
    step.updated[name] = op.state_out
    if config.use_output_norm:
        mixed = _norm(step, config, inputs, mixed, "o_norm")
    if config.use_output_gate:
        mixed = _gate(step, inputs, mixed, "z_proj")
    return _linear(step, inputs, mixed, "o_proj", "mixed")


def _heads(config: MiniCPMSalaConfig) -> Heads:
    size = config.head_dim
    return Heads(config.num_attention_heads, config.num_key_value_heads, size, size**-0.5)


def _sparse(
    step: StepWriter,
    config: MiniCPMSalaConfig,
    inputs: LayerInputs,
    qkv: tuple[SSAValue, SSAValue, SSAValue],
    attention: AttentionMode,
) -> SSAValue:
    sparse = config.sparse_config
    assert sparse is not None, "a model without one is dense"
    cache, keys = inputs.state("kv_cache"), inputs.state("compressed_keys")
    op = BlockSparseAttentionOp(
        *qkv,
        step.arguments[cache],
        step.arguments[keys],
        inputs.batch,
        heads=_heads(config),
        selection=BlockSelection(
            kernel_size=sparse.kernel_size,
            kernel_stride=sparse.kernel_stride,
            block_size=sparse.block_size,
            init_blocks=sparse.init_blocks,
            window_blocks=sparse.window_blocks,
            topk=sparse.topk,
            dense_len=0 if attention is AttentionMode.SPARSE else sparse.dense_len,
        ),
        layer=inputs.layer,
    )
    step.updated |= {cache: op.kv_out, keys: op.ck_out}
    return step.emit(op, "mixed", "kv_cache", "compressed_keys")


def _dense(
    step: StepWriter,
    config: MiniCPMSalaConfig,
    inputs: LayerInputs,
    qkv: tuple[SSAValue, SSAValue, SSAValue],
) -> SSAValue:
    cache = inputs.state("kv_cache")
    op = SoftmaxAttentionOp(
        *qkv,
        step.arguments[cache],
        inputs.batch,
        heads=_heads(config),
        layer=inputs.layer,
    )
    step.updated[cache] = op.kv_out
    return step.emit(op, "mixed", "kv_cache")


def _project(step: StepWriter, inputs: LayerInputs, name: str) -> SSAValue:
    return _linear(step, inputs, inputs.x, f"{name}_proj", name)


def _linear(step: StepWriter, inputs: LayerInputs, x: SSAValue, tensor: str, hint: str) -> SSAValue:
    weight = step.weight(f"{inputs.prefix}{tensor}.weight")
    bias = step.optional_weight(f"{inputs.prefix}{tensor}.bias")
    return step.emit(LinearOp(x, weight, bias=bias, layer=inputs.layer), hint)


def _gate(step: StepWriter, inputs: LayerInputs, mixed: SSAValue, tensor: str) -> SSAValue:
    gate = _linear(step, inputs, inputs.x, tensor, "gate")
    return step.emit(OutputGateOp(mixed, gate, layer=inputs.layer), "gated")


def _norm(
    step: StepWriter, config: MiniCPMSalaConfig, inputs: LayerInputs, x: SSAValue, tensor: str
) -> SSAValue:
    weight = step.weight(f"{inputs.prefix}{tensor}.weight")
    op = RmsNormOp(x, weight, eps=config.rms_norm_eps, layer=inputs.layer)
    return step.emit(op, tensor.partition("_")[0])


def _rotate(step: StepWriter, inputs: LayerInputs, x: SSAValue, head_dim: int) -> SSAValue:
    if inputs.table is None:
        return x
    op = RopeOp(x, inputs.table, head_dim=head_dim, layer=inputs.layer)
    return step.emit(op, x.name_hint or "rotated")
