"""MiniCPM to MiniCPM4.1: Llama with scales of muP, LongRoPE and InfLLM-V2 in every layer."""

from sala_compile.sala_ir.frontends.minicpm.config import MiniCPMConfig
from sala_compile.sala_ir.frontends.minicpm.model import MiniCPMFrontend

FRONTEND = MiniCPMFrontend(MiniCPMConfig)
