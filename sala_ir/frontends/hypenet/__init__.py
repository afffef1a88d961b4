"""HypeNet: a Qwen3 of Lightning attention, and a few layers that attend to all of the past."""

from sala_compile.sala_ir.frontends.hypenet.config import HypeNetConfig
from sala_compile.sala_ir.frontends.hypenet.model import HypeNetFrontend

FRONTEND = HypeNetFrontend(HypeNetConfig)
