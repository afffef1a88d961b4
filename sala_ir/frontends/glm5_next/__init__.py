"""GLM-5.3-Flash: Kimi delta attention beside attention to chosen pools, streams, and experts."""

from sala_compile.sala_ir.frontends.glm5_next.config import Glm5NextConfig
from sala_compile.sala_ir.frontends.glm5_next.model import Glm5NextFrontend

FRONTEND = Glm5NextFrontend(Glm5NextConfig)
