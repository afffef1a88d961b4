"""From a config to the captured `@step`: what MiniCPM has beyond a dense decoder."""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.ir import SSAValue

from sala_compile.sala_ir.attention_sizes import Heads
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.attention_mode import AttentionMode
from sala_compile.sala_ir.frontends.kit.block_sparse import (
    attend,
    attention_mode,
    attention_states,
)
from sala_compile.sala_ir.frontends.kit.decoder import Decoder
from sala_compile.sala_ir.frontends.kit.dense import DenseFrontend
from sala_compile.sala_ir.frontends.kit.step import StepWriter
from sala_compile.sala_ir.frontends.minicpm.config import MiniCPMConfig


class MiniCPMFrontend(DenseFrontend[MiniCPMConfig]):
    """Scales of muP; attention to selected blocks where the config has a `sparse_config`."""

    def attention_mode(self, config: MiniCPMConfig, requested: AttentionMode) -> AttentionMode:
        """How the layers read the past; without a sparse_config they are dense."""
        return attention_mode(config.sparse_config, requested)

    def layer_states(
        self, config: MiniCPMConfig, attention: AttentionMode
    ) -> Mapping[str, StateType]:
        """Keys and values, compressed keys too where blocks are selected."""
        sparse, kv_heads = config.sparse_config, config.num_key_value_heads
        return attention_states(sparse, kv_heads, config.head_dim, attention, rotates=True)

    def decoder(self, step: StepWriter, config: MiniCPMConfig) -> Decoder:
        """Embeddings, branches and the last norm are scaled; a tied head is not."""
        return Decoder(step, config, config.scale_emb, config.residual_scale, config.logit_scale)

    def attend(
        self,
        step: StepWriter,
        batch: SSAValue,
        qkv: tuple[SSAValue, SSAValue, SSAValue],
        unrotated: tuple[SSAValue, SSAValue],
        heads: Heads,
        config: MiniCPMConfig,
        attention: AttentionMode,
    ) -> SSAValue:
        """To blocks or to all of the past, as config and mode say."""
        return attend(step, batch, qkv, unrotated, heads, config.sparse_config, attention)
