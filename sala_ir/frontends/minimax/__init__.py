"""MiniMax: Lightning and softmax attention, experts, and a stream that goes on from its norms."""

from sala_compile.sala_ir.frontends.minimax.config import MiniMaxConfig
from sala_compile.sala_ir.frontends.minimax.model import MiniMaxFrontend

FRONTEND = MiniMaxFrontend(MiniMaxConfig)
