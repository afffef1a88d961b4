"""Bailing hybrid (Ling 3.0): Kimi delta attention, gated latent attention with RoPE, experts."""

from sala_compile.sala_ir.frontends.bailing_hybrid.config import BailingHybridConfig
from sala_compile.sala_ir.frontends.bailing_hybrid.model import BailingHybridFrontend

FRONTEND = BailingHybridFrontend(BailingHybridConfig)
