"""What the fields of a config must satisfy together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.frontends.minicpm_sala.config import (
    MiniCPMSalaConfig,
    MixerType,
    SparseConfig,
)
from sala_compile.sala_ir.frontends.minicpm_sala.fields import config_error

Refuse = Callable[[str, Any, str, str], ConfigError]
"""(field, found, expected, fix) -> error."""


def check_config(config: MiniCPMSalaConfig, file: str) -> None:
    """Raise `ConfigError` for the first constraint that the config breaks."""

    def refuse(field: str, found: Any, expected: str, fix: str) -> ConfigError:
        return config_error(file, field, found, expected, fix)

    _check_layers(config, refuse)
    _check_heads(config, refuse)
    if config.sparse_config is not None and MixerType.SPARSE in config.mixer_types:
        _check_sparse(config, config.sparse_config, refuse)


def _check_layers(config: MiniCPMSalaConfig, refuse: Refuse) -> None:
    found, expected = len(config.mixer_types), config.num_hidden_layers
    if found != expected:
        raise refuse(
            "mixer_types",
            f"a list of {found}",
            f"one entry for each of the {expected} layers (num_hidden_layers)",
            "correct num_hidden_layers or mixer_types",
        )


def _check_heads(config: MiniCPMSalaConfig, refuse: Refuse) -> None:
    groups = (
        ("num_attention_heads", config.num_attention_heads, config.num_key_value_heads),
        ("lightning_nh", config.lightning_nh, config.lightning_nkv),
    )
    for field, heads, kv_heads in groups:
        if heads % kv_heads:
            raise refuse(
                field,
                heads,
                f"a multiple of the {kv_heads} key-value heads",
                "correct the head counts",
            )
    for field, size in (
        ("head_dim", config.head_dim),
        ("lightning_head_dim", config.lightning_head_dim),
    ):
        if size % 2:
            raise refuse(field, size, "an even number", "odd head sizes are not supported")


def _check_sparse(config: MiniCPMSalaConfig, sparse: SparseConfig, refuse: Refuse) -> None:
    rules = (
        (
            sparse.kernel_size == 2 * sparse.kernel_stride,
            "kernel_size",
            f"2 * kernel_stride = {2 * sparse.kernel_stride}",
        ),
        (
            sparse.block_size % sparse.kernel_stride == 0,
            "block_size",
            f"a multiple of kernel_stride = {sparse.kernel_stride}",
        ),
        (
            sparse.window_size % sparse.block_size == 0,
            "window_size",
            f"a multiple of block_size = {sparse.block_size}",
        ),
        (
            sparse.topk >= sparse.init_blocks + 1,
            "topk",
            f"at least init_blocks + 1 = {sparse.init_blocks + 1}",
        ),
        (
            not (sparse.use_nope and config.attn_use_rope),
            "use_nope",
            "false where attn_use_rope is true: selection with unrotated keys is not supported",
        ),
    )
    for holds, field, expected in rules:
        if not holds:
            raise refuse(
                f"sparse_config.{field}",
                getattr(sparse, field),
                expected,
                "use a checkpoint whose sparse layers satisfy this",
            )
