"""The config of a MiniCPM-SALA checkpoint: field names as in its config.json."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_LAYERS, MAX_HEADS, MAX_HEAD_DIM, MAX_BLOCK = 256, 1024, 1024, 4096
"""Far more than any model has: what the compiler does grows with them."""

Count = Annotated[int, Field(gt=0, lt=2**31)]
"""A positive size that fits int32."""

Heads = Annotated[int, Field(gt=0, le=MAX_HEADS)]
HeadDim = Annotated[int, Field(gt=0, le=MAX_HEAD_DIM)]
Block = Annotated[int, Field(gt=0, le=MAX_BLOCK)]
"""Neighbouring tokens that are read or averaged together."""

Cardinal = Annotated[int, Field(ge=0, lt=2**31)]
"""A size that may be 0 and fits int32."""

LARGEST, SMALLEST = 3.4e38, 1.2e-38
"""Sizes between which real numbers are normal ones of float32."""

Normal = Field(gt=SMALLEST)

Positive = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False), Normal]
"""A positive real number that float32 holds."""

Real = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
"""A real number that float32 holds."""


class MixerType(StrEnum):
    """The kind of a layer, in the spelling of the released config."""

    SPARSE = "minicpm4"
    LIGHTNING = "lightning-attn"


class LightningScale(StrEnum):
    """The factor on the queries of a Lightning layer, as a function of the head size d."""

    INVERSE_ROOT = "1/sqrt(d)"
    INVERSE = "1/d"
    ONE = "1"

    def factor(self, head_dim: int) -> float:
        """The factor for heads of that size."""
        match self:
            case LightningScale.INVERSE_ROOT:
                return head_dim**-0.5
            case LightningScale.INVERSE:
                return 1.0 / head_dim
        return 1.0


class SparseConfig(BaseModel):
    """`sparse_config`; its defaults are those of the model's own code.

    A config without one is of a dense model: its attention reads all of the past at any length.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    kernel_size: Block = 32
    kernel_stride: Block = 16
    block_size: Block = 64
    init_blocks: Cardinal = 1
    window_size: Cardinal = 2048
    topk: Count = 64
    dense_len: Cardinal = 8192
    use_nope: bool = False

    @property
    def window_blocks(self) -> int:
        """Blocks before the own one that are always read."""
        return self.window_size // self.block_size

    @property
    def budget(self) -> int:
        """Blocks that a query reads at most, the forced ones included."""
        return self.topk + self.window_blocks


class MiniCPMSalaConfig(BaseModel):
    """Everything that inference reads; made by `parse_config`, which also fills what is missing."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    vocab_size: Count
    hidden_size: Count
    intermediate_size: Count
    num_hidden_layers: Annotated[int, Field(gt=0, le=MAX_LAYERS)]
    num_attention_heads: Heads
    num_key_value_heads: Heads
    head_dim: HeadDim
    mixer_types: tuple[MixerType, ...]
    hidden_act: Literal["silu"] = "silu"
    attention_bias: bool = False
    rms_norm_eps: Positive
    rope_theta: Positive
    scale_emb: Real
    scale_depth: Real
    dim_model_base: Positive
    attn_use_rope: bool
    attn_use_output_gate: bool
    lightning_nh: Heads
    lightning_nkv: Heads
    lightning_head_dim: HeadDim
    lightning_scale: LightningScale
    lightning_use_rope: bool
    qk_norm: bool
    use_output_norm: bool
    use_output_gate: bool
    sparse_config: SparseConfig | None = None
    tie_word_embeddings: bool
    max_position_embeddings: Count | None = None
    bos_token_id: Cardinal | None = None
    eos_token_id: tuple[Cardinal, ...] = ()
    pad_token_id: int | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None

    @property
    def residual_scale(self) -> float:
        """Factor of every branch that joins the residual stream."""
        return self.scale_depth / math.sqrt(self.num_hidden_layers)

    @property
    def logit_scale(self) -> float:
        """Factor between the last norm and the head."""
        return self.dim_model_base / self.hidden_size

    def layers_of(self, kind: MixerType) -> tuple[int, ...]:
        """Indices of the layers of a kind."""
        return tuple(index for index, found in enumerate(self.mixer_types) if found is kind)
