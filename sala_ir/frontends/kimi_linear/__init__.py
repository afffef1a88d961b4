"""Kimi Linear: Kimi delta attention beside latent attention without rotation, and experts."""

from sala_compile.sala_ir.frontends.kimi_linear.config import KimiLinearConfig
from sala_compile.sala_ir.frontends.kimi_linear.model import KimiLinearFrontend

FRONTEND = KimiLinearFrontend(KimiLinearConfig)
