"""Qwen2 and Qwen2.5: Llama with a bias on queries, keys and values alone."""

from typing import ClassVar

from sala_compile.sala_ir.field_rules import NO_EFFECT, FieldRules, only
from sala_compile.sala_ir.frontends.kit.dense import DenseConfig, DenseFrontend
from sala_compile.sala_ir.frontends.kit.known_fields import COMMON

UNUSED_WINDOW: FieldRules = {"sliding_window": NO_EFFECT, "max_window_layers": NO_EFFECT}
"""Fields of a window that `use_sliding_window` leaves unused."""


class Qwen2Config(DenseConfig):
    """Fields and defaults of transformers' Qwen2Config."""

    FAMILY: ClassVar[str] = "qwen2"
    FIELDS: ClassVar[FieldRules] = {
        **COMMON,
        **UNUSED_WINDOW,
        "attention_bias": only(True, False),  # not read: the biases are always those of Qwen2
        "use_mrope": only(False),
    }

    @property
    def qkv_bias(self) -> bool:
        """Always."""
        return True

    @property
    def output_bias(self) -> bool:
        """Never."""
        return False


FRONTEND = DenseFrontend(Qwen2Config)
