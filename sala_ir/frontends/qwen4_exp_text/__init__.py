"""The text model of Qwen4-Exp alone."""

from sala_compile.sala_ir.frontends.qwen4_exp.config import Qwen4ExpConfig
from sala_compile.sala_ir.frontends.qwen4_exp.model import Qwen4ExpFrontend

FRONTEND = Qwen4ExpFrontend(Qwen4ExpConfig)
