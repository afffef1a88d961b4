"""Model families: from a checkpoint's config.json to a `sala` module."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from xdsl.dialects.builtin import ModuleOp

from runtime.errors import ConfigError
from sala_ir.frontends.attention import AttentionMode

FRONTENDS: Mapping[str, str] = {"minicpm_sala": "sala_ir.frontends.minicpm_sala"}
"""model_type of config.json -> module that holds the frontend, imported when asked for."""

CONFIG_FILE = "config.json"


class Frontend(Protocol):
    """What the module of a model family offers."""

    def parse_config(self, raw: Mapping[str, Any], *, file: str = CONFIG_FILE) -> Any:
        """The checked config; raises `ConfigError` with the field, what it is, what it must be."""
        ...

    def expected_tensors(self, config: Any) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor that a checkpoint with this config holds."""
        ...

    def build_module(
        self, config: Any, attention: AttentionMode = AttentionMode.CONFIG
    ) -> ModuleOp:
        """The captured `@step` of the model."""
        ...


def read_config(place: Path) -> dict[str, Any]:
    """A config: the file itself, or the config.json of a checkpoint directory.

    Raises `ConfigError` if it is no JSON object.
    """
    path = place if place.is_file() else place / CONFIG_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(
            f"{path} cannot be read: {reason}",
            expected="a checkpoint directory with a config.json",
            fix="give the directory that holds config.json and the *.safetensors files",
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{path} is not JSON: {error}", expected="one JSON object", fix="download it again"
        ) from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds a {type(raw).__name__}", expected="one JSON object")
    return raw


def frontend_for(raw: Mapping[str, Any], *, file: str = CONFIG_FILE) -> Frontend:
    """The frontend of a config's model_type; raises `ConfigError` for an unknown one."""
    model_type = raw.get("model_type")
    module = FRONTENDS.get(model_type) if isinstance(model_type, str) else None
    if module is None:
        known = ", ".join(f'"{name}"' for name in FRONTENDS)
        found = "is missing" if model_type is None else f"{model_type!r} is not supported"
        raise ConfigError(
            f"model_type {found}",
            where=f"{file}: model_type",
            expected=known,
            fix="use a checkpoint of a supported family",
        )
    return cast(Frontend, importlib.import_module(module))


__all__ = ["CONFIG_FILE", "FRONTENDS", "AttentionMode", "Frontend", "frontend_for", "read_config"]
