"""Model families: from a checkpoint's config.json to a `sala` module."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sala_compile.runtime.common.files import FileRule, shown
from sala_compile.runtime.common.json_text import LIMITS, is_list, parse_object, quoted
from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.frontends.attention_mode import AttentionMode
from sala_compile.sala_ir.frontends.kit.facts import ModelFacts
from sala_compile.sala_ir.frontends.kit.frontend import CONFIG_FILE, Frontend

FRONTENDS: Mapping[str, str] = {
    name: f"sala_compile.sala_ir.frontends.{name}"
    for name in (
        "minicpm_sala",
        "minicpm",
        "hypenet",
        "llama",
        "qwen2",
        "qwen3",
        "olmo_hybrid",
        "falcon_h1",
        "minicpm3",
        "qwen3_next",
        "kimi_linear",
        "bailing_hybrid",
        "minimax",
        "nemotron_h",
        "glm5_next",
        "deepseek_v32",
        "glm_moe_dsa",
        "qwen4_exp",
        "qwen4_exp_text",
    )
}
"""model_type of config.json -> module with its `FRONTEND`, imported when requested."""

_ARCHITECTURES: Mapping[str, str] = {"MiniCPMForCausalLM": "minicpm"}
"""Class of the model -> its model_type, for published configs that have none."""

_CONFIG = FileRule(
    what="the configuration",
    limit=LIMITS.size,
    error=ConfigError,
    expected="a checkpoint directory with a config.json",
    fix="give the directory that holds config.json and the *.safetensors files",
)


def read_config(place: Path) -> dict[str, Any]:
    """A config: the file itself, or the config.json of a checkpoint directory.

    Raises `ConfigError` if it is no regular file with one JSON object.
    """
    path = place / CONFIG_FILE if place.is_dir() else place
    return parse_object(_CONFIG.read(path), shown(path))


def frontend_for(raw: Mapping[str, Any], *, file: str = CONFIG_FILE) -> Frontend[Any]:
    """The frontend of a config's model_type; raises `ConfigError` for an unknown one."""
    model_type = raw.get("model_type")
    if model_type is None:
        model_type = _model_type(raw.get("architectures"))
    module = FRONTENDS.get(model_type) if isinstance(model_type, str) else None
    if module is None:
        known = ", ".join(f'"{name}"' for name in FRONTENDS)
        found = "is missing" if model_type is None else f"{quoted(model_type)} is not supported"
        raise ConfigError(
            f"model_type {found}",
            where=f"{file}: model_type",
            expected=known,
            fix="use a checkpoint of a supported family",
        )
    return importlib.import_module(module).FRONTEND


def _model_type(architectures: Any) -> str | None:
    """The one that the only entry of `architectures` stands for."""
    if not is_list(architectures) or len(architectures) != 1:
        return None
    name = architectures[0]
    return _ARCHITECTURES.get(name) if isinstance(name, str) else None


__all__ = [
    "CONFIG_FILE",
    "FRONTENDS",
    "AttentionMode",
    "Frontend",
    "ModelFacts",
    "frontend_for",
    "read_config",
]
