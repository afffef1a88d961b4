"""DeepSeek-V3.2: latent attention to tokens that an indexer chooses in every layer, experts."""

from sala_compile.sala_ir.frontends.deepseek_v32.config import DeepseekV32Config
from sala_compile.sala_ir.frontends.kit.indexed_latent import IndexedLatentFrontend

FRONTEND = IndexedLatentFrontend(DeepseekV32Config)
