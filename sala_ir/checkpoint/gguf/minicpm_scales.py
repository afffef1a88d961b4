"""The scales of MiniCPM: products in a GGUF file, the numbers that they are made of in a config."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

EMBEDDING, DEPTH, BASE = 12.0, 1.4, 256.0
"""Those of files without the keys, as llama.cpp has them."""
MOST_DIGITS = 9


def scales_of(config: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """`scale_emb`, `scale_depth` and `dim_model_base` of a config with these sizes.

    A size that is none is left to the check of the config, as is a scale.
    """
    layers: Any = config["num_hidden_layers"]
    hidden: Any = config["hidden_size"]
    found = {
        "scale_emb": keys.get("embedding_scale", EMBEDDING),
        "scale_depth": keys.get("residual_scale", DEPTH),
        "dim_model_base": keys.get("logit_scale", BASE),
    }
    sizes_are_known = type(layers) is int and layers > 0 and type(hidden) is int and hidden > 0
    if sizes_are_known and _is_positive(keys.get("residual_scale")):
        root, stored = math.sqrt(layers), float(keys["residual_scale"])
        found["scale_depth"] = _shortest(stored * root, 1 / root, 1.0, stored)
    if sizes_are_known and _is_positive(keys.get("logit_scale")):
        stored = float(keys["logit_scale"])
        found["dim_model_base"] = _shortest(hidden / stored, float(hidden), -1.0, stored)
    return found


def _is_positive(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value) and value > 0


def _shortest(value: float, factor: float, power: float, stored: float) -> float:
    """The shortest decimal near a value v for which factor * v^power is the float32 stored."""
    for digits in range(1, MOST_DIGITS):
        near = float(f"{value:.{digits}g}")
        if near > 0 and np.float32(factor * near**power) == np.float32(stored):
            return near
    return value
