"""GLM-5: latent attention to tokens that indexers choose, which layers may share, experts."""

from sala_compile.sala_ir.frontends.glm_moe_dsa.config import GlmMoeDsaConfig
from sala_compile.sala_ir.frontends.kit.indexed_latent import IndexedLatentFrontend

FRONTEND = IndexedLatentFrontend(GlmMoeDsaConfig)
