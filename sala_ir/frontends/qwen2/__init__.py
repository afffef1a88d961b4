"""Qwen2 and Qwen2.5: Llama with a bias on queries, keys and values alone."""

from typing import Any, ClassVar, cast

from sala_compile.sala_ir.field_rules import NO_EFFECT, FieldRule, FieldRules, only
from sala_compile.sala_ir.frontends.kit.dense import DenseConfig, DenseFrontend
from sala_compile.sala_ir.frontends.kit.known_fields import COMMON


def _is_full(value: Any) -> bool:
    return isinstance(value, list) and set(map(str, cast(list[Any], value))) <= {"full_attention"}


FULL_ATTENTION: FieldRules = {
    "use_sliding_window": only(False),
    "sliding_window": NO_EFFECT,  # these two of a window that is not used
    "max_window_layers": NO_EFFECT,
    "layer_types": FieldRule(_is_full, 'a list of "full_attention"'),
}
"""A config whose layers have no sliding window."""


class Qwen2Config(DenseConfig):
    """Fields and defaults of transformers' Qwen2Config."""

    FAMILY: ClassVar[str] = "qwen2"
    FIELDS: ClassVar[FieldRules] = {
        **COMMON,
        **FULL_ATTENTION,
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
