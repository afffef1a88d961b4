"""Qwen3-Next: gated delta layers, gated attention, and experts."""

from sala_compile.sala_ir.frontends.qwen3_next.config import Qwen3NextConfig
from sala_compile.sala_ir.frontends.qwen3_next.model import Qwen3NextFrontend

FRONTEND = Qwen3NextFrontend(Qwen3NextConfig)
