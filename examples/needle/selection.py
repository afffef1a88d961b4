"""A loss that trains the choice of blocks, which the loss of the answers does not reach.

Selection scores means of keys. Attention to the right key alone says little of the mean over its
window, and a block that is not read gets no gradient. So for every answer token the windows that
hold its source are told to score above all others, by the margin that a longer text would ask for.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from examples.needle.configuration import config
from sala_compile.sala_ir.reference.arrays import split_heads
from sala_compile.sala_ir.reference.cache import COARSE_FACTOR, complete_windows, window_means
from sala_compile.sala_ir.reference.linear import linear
from sala_compile.sala_ir.reference.norms import rms_norm

MARGIN = math.log(16)
"""How much a score must stand out: as it must among 16 times as many windows."""


@dataclass(frozen=True, slots=True)
class SelectionLoss:
    """The loss of one sparse layer, from the residual stream before it."""

    layer: int
    weights: Mapping[str, torch.Tensor]

    def of_text(self, hidden: torch.Tensor, sources: np.ndarray) -> torch.Tensor:
        """Return the mean loss over the answer tokens of a text.

        hidden [tokens, hidden size]; sources [tokens], the position of what comes next or -1.
        """
        values: dict[str, Any] = config()
        sizes = values["sparse_config"]
        size, stride = sizes["kernel_size"], sizes["kernel_stride"]
        rows = np.flatnonzero(sources >= 0)
        x = self._normed(hidden)
        keys = split_heads(linear(x, self._weight("k_proj")), values["num_key_value_heads"])
        queries = linear(x[torch.from_numpy(rows)], self._weight("q_proj"))
        grouped = queries.reshape(len(rows), keys.shape[1], -1, keys.shape[2])
        fine = _logits(grouped, keys, size, stride)
        coarse = _logits(grouped, keys, COARSE_FACTOR * size, COARSE_FACTOR * stride)
        coarse = coarse.masked_fill(
            ~_ended(rows, coarse.shape[-1], COARSE_FACTOR * size, COARSE_FACTOR * stride),
            -torch.inf,
        )
        scores = torch.logsumexp(fine - coarse.logsumexp(dim=-1, keepdim=True), dim=2)
        scores = scores.masked_fill(
            ~_ended(rows, fine.shape[-1], size, stride)[:, :, 0], -torch.inf
        )
        right = _holding(sources[rows], fine.shape[-1], size, stride)
        others = torch.logsumexp(scores.masked_fill(right, -torch.inf), dim=-1) + MARGIN
        best = scores.masked_fill(~right, -torch.inf).amax(dim=-1)
        return torch.nn.functional.softplus(others - best).mean()

    def _normed(self, hidden: torch.Tensor) -> torch.Tensor:
        weight = self.weights[f"model.layers.{self.layer}.input_layernorm.weight"]
        return rms_norm(hidden, weight, eps=config()["rms_norm_eps"])

    def _weight(self, part: str) -> torch.Tensor:
        return self.weights[f"model.layers.{self.layer}.self_attn.{part}.weight"]


def _logits(grouped: torch.Tensor, keys: torch.Tensor, size: int, stride: int) -> torch.Tensor:
    """Scaled products with all window means: [rows, kv heads, heads of a group, windows]."""
    means = window_means(keys, 0, complete_windows(len(keys), size, stride), size, stride)
    scale = keys.shape[2] ** -0.5
    return torch.matmul(grouped, means.permute(1, 2, 0)) * scale


def _ended(rows: np.ndarray, windows: int, size: int, stride: int) -> torch.Tensor:
    """Which windows have ended at each row: bool [rows, 1, 1, windows]."""
    last = np.arange(windows) * stride + size - 1
    return torch.from_numpy(last <= rows[:, None])[:, None, None, :]


def _holding(sources: np.ndarray, windows: int, size: int, stride: int) -> torch.Tensor:
    """Which windows hold each source: bool [rows, 1, windows]."""
    first = np.arange(windows) * stride
    holds = (first <= sources[:, None]) & (sources[:, None] < first + size)
    return torch.from_numpy(holds)[:, None, :]
