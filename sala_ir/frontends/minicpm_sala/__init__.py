"""MiniCPM-SALA: InfLLM-V2 block-sparse attention and Lightning attention, layer by layer."""

from sala_compile.sala_ir.frontends.minicpm_sala.config import MiniCPMSalaConfig
from sala_compile.sala_ir.frontends.minicpm_sala.model import MiniCPMSalaFrontend

FRONTEND = MiniCPMSalaFrontend(MiniCPMSalaConfig)
