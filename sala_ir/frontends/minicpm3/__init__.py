"""MiniCPM3: latent attention in every layer, with scales of muP."""

from sala_compile.sala_ir.frontends.minicpm3.config import MiniCPM3Config
from sala_compile.sala_ir.frontends.minicpm3.model import MiniCPM3Frontend

FRONTEND = MiniCPM3Frontend(MiniCPM3Config)
