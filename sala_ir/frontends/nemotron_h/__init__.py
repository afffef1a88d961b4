"""Nemotron-H: layers of one mixer each, Mamba-2, attention, MLP or experts."""

from sala_compile.sala_ir.frontends.nemotron_h.config import NemotronHConfig
from sala_compile.sala_ir.frontends.nemotron_h.model import NemotronHFrontend

FRONTEND = NemotronHFrontend(NemotronHConfig)
