"""OLMo Hybrid: gated delta layers, and attention whose norms follow it."""

from sala_compile.sala_ir.frontends.olmo_hybrid.config import OlmoHybridConfig
from sala_compile.sala_ir.frontends.olmo_hybrid.model import OlmoHybridFrontend

FRONTEND = OlmoHybridFrontend(OlmoHybridConfig)
