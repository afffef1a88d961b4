"""How well a model knows a text, and how far its predictions are from those of another."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sala_compile.runtime.model import Model

KEPT = 8
"""Of so many predictions one is kept whole, for others to be compared with."""
ROWS = 64
"""Rows of logits that are looked at at a time."""


@dataclass(frozen=True, slots=True)
class TextMeasure:
    """Mean over the predicted tokens of a text.

    `loss` in nats per token, of all `tokens`. Over the kept ones: `divergence`, the relative
    entropy of the model's predictions seen from the baseline's, in nats, and `others`, the share
    where another token is the likeliest.
    """

    tokens: int
    loss: float
    divergence: float
    others: float

    @property
    def document(self) -> dict[str, float]:
        """As it is written down."""
        return asdict(self)


def measure_text(model: Model, ids: list[int], kept: Path) -> TextMeasure:
    """Read `ids` in one call; the first model writes its predictions to `kept`, others compare.

    `kept` is an array [predictions, vocabulary] of log probabilities, float32.
    """
    logits = model.logits(ids)[:-1]
    losses: list[np.ndarray] = []
    whole: list[np.ndarray] = []
    for start in range(0, len(logits), ROWS):
        rows = _log_probabilities(logits[start : start + ROWS])
        after = np.asarray(ids[start + 1 : start + 1 + len(rows)])
        losses.append(-rows[np.arange(len(rows)), after])
        whole.append(rows[::KEPT].astype(np.float32))
    found = np.concatenate(whole)
    if not kept.exists():
        np.save(kept, found)
    baseline = np.load(kept).astype(np.float64)
    gap = (np.exp(baseline) * (baseline - found)).sum(axis=1)
    others = baseline.argmax(axis=1) != found.argmax(axis=1)
    loss = float(np.concatenate(losses).mean())
    return TextMeasure(len(logits), loss, float(gap.mean()), float(others.mean()))


def _log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Of logits [rows, vocabulary], in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
