"""What all stages of a conversion share: the teacher, the texts, and how weights are kept."""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from examples.halo.data.token_texts import TokenTexts
from examples.halo.files import write_whole
from examples.halo.options import ConvertOptions, Precision
from examples.halo.student_config import student_config
from examples.halo.teacher import Teacher
from examples.halo.torch_decoder import TorchDecoder
from examples.halo.training.stage_training import Clock
from sala_compile.sala_ir.frontends import AttentionMode
from sala_compile.sala_ir.reference.lightning import Recurrence, lightning_chunked

EVALUATED_TEXTS = 16
CALIBRATED_BATCHES = 16
CHUNK = 128
"""Tokens of a chunk of the recurrence on a CPU: longer than the reference's, fewer operations."""
Weights = dict[str, torch.Tensor]
Report = Callable[[str, dict[str, Any], int, float], None]
"""Progress of a stage: its name, the line of its curve, its steps, and the seconds left."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """A conversion in progress; every stage has a folder of its own in the work folder."""

    options: ConvertOptions
    source: Teacher
    texts: TokenTexts
    held_out: TokenTexts
    clock: Clock
    report: Report

    def folder(self, stage: str) -> Path:
        """The folder of a stage."""
        return self.options.work / stage

    def config(self, attention_layers: Collection[int]) -> dict[str, Any]:
        """The student's config.json with these layers of attention."""
        options = self.options
        return student_config(
            self.source.config, options.student, attention_layers, options.long_length
        )

    def placed(self, weights: Mapping[str, torch.Tensor]) -> Weights:
        """Weights on the device, in the element type of the precision; always a copy."""
        is_half = self.options.precision is Precision.BFLOAT16
        dtype = torch.bfloat16 if is_half else torch.float32
        device = self.options.device
        return {name: x.to(device, dtype, copy=True) for name, x in weights.items()}

    def decoder(
        self,
        config: Mapping[str, Any],
        weights: Mapping[str, torch.Tensor],
        attention: AttentionMode = AttentionMode.DENSE,
    ) -> TorchDecoder:
        """A decoder of placed weights."""
        return TorchDecoder(config, weights, attention=attention, lightning=self._lightning)

    def teacher(self) -> TorchDecoder:
        """The teacher on the device."""
        return self.decoder(self.source.config, self.placed(self.source.weights))

    def products(self) -> AbstractContextManager[Any]:
        """In what matrices are multiplied inside the block."""
        is_wide = self.options.precision is Precision.FLOAT32
        kind = torch.device(self.options.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=not is_wide)

    def batch(self, stage: int, step: int, part: int, texts: int, length: int) -> torch.Tensor:
        """Texts of a part of a step, on the device; they follow from seed and position alone."""
        key = (self.options.seed, stage, step, part)
        return self.texts.batch(key, texts, length).to(self.options.device)

    def held_batches(self, length: int, texts: int = EVALUATED_TEXTS) -> list[torch.Tensor]:
        """Texts that no stage trains on, one by one: the same in every evaluation."""
        found = self.held_out.batch((self.options.seed, 9), texts, length)
        return list(found.to(self.options.device).split(1))

    @property
    def _lightning(self) -> Recurrence:
        if torch.device(self.options.device).type == "cpu":
            return partial(lightning_chunked, chunk=CHUNK)
        from examples.halo.triton_lightning.recurrence import lightning_triton

        return lightning_triton


def save_weights(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Write tensors as safetensors, whole."""
    own = {name: x.detach().cpu().contiguous() for name, x in weights.items()}
    with write_whole(path) as file:
        file.write(save(own, {"format": "pt"}))


def load_weights(path: Path) -> Weights:
    """Read what `save_weights` wrote."""
    return load_file(path)
