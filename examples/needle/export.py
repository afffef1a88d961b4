"""Writes trained weights as a checkpoint in Hugging Face layout."""

import json
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from examples.needle.configuration import config
from examples.needle.tokenizer import write_tokenizer


def write_checkpoint(directory: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Write configuration, tokenizer and bfloat16 weights into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config(), indent=2) + "\n", encoding="utf-8")
    write_tokenizer(directory)
    rounded = {name: x.astype(ml_dtypes.bfloat16) for name, x in weights.items()}
    save_file(rounded, directory / "model.safetensors", metadata={"format": "pt"})
