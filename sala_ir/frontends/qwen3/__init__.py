"""Qwen3: Llama with queries and keys that are normalised head by head before their rotation."""

from typing import Any, ClassVar

from sala_compile.sala_ir.field_rules import FieldRules
from sala_compile.sala_ir.frontends.kit.dense import DenseConfig, DenseFrontend
from sala_compile.sala_ir.frontends.kit.known_fields import COMMON
from sala_compile.sala_ir.frontends.qwen2 import UNUSED_WINDOW


class Qwen3Config(DenseConfig):
    """Fields and defaults of transformers' Qwen3Config."""

    FAMILY: ClassVar[str] = "qwen3"
    FIELDS: ClassVar[FieldRules] = {**COMMON, **UNUSED_WINDOW}

    @classmethod
    def fill(cls, fields: dict[str, Any], file: str) -> None:
        """Heads of 128, whatever the hidden size."""
        fields.setdefault("head_dim", 128)
        super().fill(fields, file)

    @property
    def qk_norm(self) -> bool:
        """Always."""
        return True


FRONTEND = DenseFrontend(Qwen3Config)
