"""The pre-trained Transformer that is converted, from a Hugging Face directory or a GGUF file."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from sala_compile.runtime.errors import RequestError
from sala_compile.sala_ir.checkpoint.checkpoint import (
    COPIED_FILES,
    WEIGHTS_FILE,
    Checkpoint,
)
from sala_compile.sala_ir.checkpoint.gguf.detect import is_gguf
from sala_compile.sala_ir.frontends import CONFIG_FILE, frontend_for

_FILLED = ("head_dim", "num_key_value_heads", "rope_theta", "rms_norm_eps")
"""Fields that a config may leave to the defaults of its family."""
FAMILIES = ("llama", "qwen2", "qwen3", "minicpm")
"""Families of dense attention whose layers are converted."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """A directory with config.json and tokenizer, and the weights: float32 by tensor name."""

    directory: Path
    config: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor]

    @property
    def layers(self) -> int:
        """How many layers it has."""
        return int(self.config["num_hidden_layers"])

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return int(self.config["num_key_value_heads"])

    @property
    def head_dim(self) -> int:
        """Columns of a head."""
        return int(self.config["head_dim"])


def read_teacher(source: Path, work: Path) -> Teacher:
    """The teacher; a GGUF file is first unpacked to `work`/teacher, its integers as their values.

    Raises RequestError for a family that is not converted, CheckpointError for damaged files.
    """
    directory = _unpacked(source, work / "teacher") if is_gguf(source) else source
    with Checkpoint.open(directory) as checkpoint:
        config = checkpoint.config
        if config.get("model_type") not in FAMILIES:
            raise RequestError(
                f"a model of family {config.get('model_type')} is not converted",
                where=f"{source}: model_type",
                expected=" or ".join(FAMILIES),
                fix="name a model of dense attention",
            )
        frontend = frontend_for(config)
        parsed = frontend.parse_config(config)
        tensors = frontend.expected_tensors(parsed)
        checkpoint.check(tensors, frontend.tied_tensors(parsed))
        weights = {name: _tensor(checkpoint, name) for name in tensors}
    known = {name: getattr(parsed, name) for name in _FILLED}
    return Teacher(directory, {**config, **known}, weights)


def copy_texts(teacher: Path, student: Path) -> None:
    """Copy tokenizer, chat template and generation files to the student's directory."""
    for name in COPIED_FILES:
        if (teacher / name).is_file():
            shutil.copyfile(teacher / name, student / name)


def _tensor(checkpoint: Checkpoint, name: str) -> torch.Tensor:
    return torch.from_numpy(checkpoint.read(name).astype(np.float32))


def _unpacked(source: Path, folder: Path) -> Path:
    """The directory of a GGUF file's contents, written once: it appears when it is whole."""
    from sala_compile.sala_ir.checkpoint.gguf.open_gguf import open_gguf

    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix="teacher-") as temporary:
        whole = Path(temporary) / "whole"
        whole.mkdir()
        with open_gguf(source, whole) as checkpoint:
            config = {**checkpoint.config, "dtype": "float32"}
            tensors = {name: _tensor(checkpoint, name) for name in checkpoint.tensors}
        save_file(tensors, whole / WEIGHTS_FILE, metadata={"format": "pt"})
        text = json.dumps(config, indent=2) + "\n"
        (whole / CONFIG_FILE).write_text(text, encoding="utf-8")
        whole.replace(folder)
    return folder
