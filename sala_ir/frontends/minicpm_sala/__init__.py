"""MiniCPM-SALA: InfLLM-V2 block-sparse attention and Lightning attention, layer by layer."""

from sala_ir.frontends.attention import AttentionMode
from sala_ir.frontends.minicpm_sala.build import build_module
from sala_ir.frontends.minicpm_sala.config import (
    LightningScale,
    MiniCPMSalaConfig,
    MixerType,
    SparseConfig,
)
from sala_ir.frontends.minicpm_sala.parse import parse_config
from sala_ir.frontends.minicpm_sala.slopes import lightning_slopes
from sala_ir.frontends.minicpm_sala.tensors import expected_tensors

__all__ = [
    "AttentionMode",
    "LightningScale",
    "MiniCPMSalaConfig",
    "MixerType",
    "SparseConfig",
    "build_module",
    "expected_tensors",
    "lightning_slopes",
    "parse_config",
]
