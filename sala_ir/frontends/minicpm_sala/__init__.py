"""MiniCPM-SALA: InfLLM-V2 block-sparse attention and Lightning attention, layer by layer."""

from sala_compile.sala_ir.frontends.attention import AttentionMode
from sala_compile.sala_ir.frontends.minicpm_sala.build import build_module
from sala_compile.sala_ir.frontends.minicpm_sala.config import (
    LightningScale,
    MiniCPMSalaConfig,
    MixerType,
    SparseConfig,
)
from sala_compile.sala_ir.frontends.minicpm_sala.parse import config_notes, parse_config
from sala_compile.sala_ir.frontends.minicpm_sala.slopes import lightning_slopes
from sala_compile.sala_ir.frontends.minicpm_sala.tensors import expected_tensors, tied_tensors

__all__ = [
    "AttentionMode",
    "LightningScale",
    "MiniCPMSalaConfig",
    "MixerType",
    "SparseConfig",
    "build_module",
    "config_notes",
    "expected_tensors",
    "lightning_slopes",
    "parse_config",
    "tied_tensors",
]
