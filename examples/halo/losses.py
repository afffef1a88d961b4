"""Losses over rows of a head, some rows at a time: logits of a large vocabulary are large."""

from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint

from examples.halo.torch_decoder import TorchDecoder

ROWS = 256
"""Rows whose logits are in memory at once."""


def divergence(
    student: TorchDecoder, final: torch.Tensor, teacher: TorchDecoder, wanted: torch.Tensor
) -> torch.Tensor:
    """KL(teacher || student) in nats, summed over the vocabulary, the mean over the rows.

    `final` and `wanted` are what the heads of the two read, [rows, hidden].
    """

    def of_rows(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            expected = teacher.logits(theirs).float().log_softmax(-1)
        found = student.logits(ours).float().log_softmax(-1)
        return torch.nn.functional.kl_div(found, expected, log_target=True, reduction="sum")

    return _mean_of_rows(of_rows, final, wanted)


def cross_entropy(
    model: TorchDecoder, final: torch.Tensor, token_ids: torch.Tensor
) -> torch.Tensor:
    """Of every next token of texts [texts, tokens], in nats, the mean; the last row has none."""
    texts, tokens = token_ids.shape
    rows = final.reshape(texts, tokens, -1)[:, :-1].flatten(0, 1)

    def of_rows(ours: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = model.logits(ours).float()
        return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")

    return _mean_of_rows(of_rows, rows, token_ids[:, 1:].flatten())


def _mean_of_rows(
    of_rows: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    rows: torch.Tensor,
    others: torch.Tensor,
) -> torch.Tensor:
    total = torch.zeros((), device=rows.device)
    for ours, theirs in zip(rows.split(ROWS), others.split(ROWS), strict=True):
        if torch.is_grad_enabled():
            total = total + checkpoint(of_rows, ours, theirs, use_reentrant=False)
        else:
            total = total + of_rows(ours, theirs)
    return total / len(rows)
