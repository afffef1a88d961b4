"""The released model's config with changes, and the errors that they give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.frontends.minicpm_sala import FRONTEND

ROOT = Path(__file__).parents[2]
RELEASED = json.loads((ROOT / "examples" / "released-config.json").read_text())
MISSING = object()


def changed(**fields: Any) -> dict[str, Any]:
    """The released config with fields replaced or, by MISSING, left out."""
    merged = RELEASED | fields
    return {name: value for name, value in merged.items() if value is not MISSING}


def changed_sparse(**fields: Any) -> dict[str, Any]:
    """The released config with another sparse_config."""
    merged = RELEASED["sparse_config"] | fields
    return changed(
        sparse_config={name: value for name, value in merged.items() if value is not MISSING}
    )


def refused(raw: dict[str, Any]) -> ConfigError:
    """The error that a config gives."""
    with pytest.raises(ConfigError) as caught:
        FRONTEND.parse_config(raw, file="here/config.json")
    return caught.value
