"""Falcon-H1: Mamba-2 and attention side by side in every layer, with a factor on each part."""

from sala_compile.sala_ir.frontends.falcon_h1.config import FalconH1Config
from sala_compile.sala_ir.frontends.falcon_h1.model import FalconH1Frontend

FRONTEND = FalconH1Frontend(FalconH1Config)
