"""Qwen4-Exp, text model and pictures: delta layers, indexed attention, n-grams, streams."""

from sala_compile.sala_ir.frontends.qwen4_exp.config import NestedConfig
from sala_compile.sala_ir.frontends.qwen4_exp.model import NestedFrontend

FRONTEND = NestedFrontend(NestedConfig)
