"""Which layers stay attention: the score of HALO, and the choice of the highest ones.

    python -m examples.halo.layer_score

prints what the authors' published logs give, next to the layers of their released configs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PUBLISHED = Path(__file__).with_name("published_scores.json")
"""Results of the authors' evaluations, each layer replaced by itself; `source` says where from."""
CAP = 50.0
"""The layer that reasons best has a denominator of nothing: scores end here."""
EPSILON = 1e-10
KEEP_RATIO = 0.25


def recall_scores(recall: Sequence[float], reasoning: Sequence[float]) -> np.ndarray:
    """HALO's score of every layer, float64 [layers]: high where it is needed for recall alone.

    Of each layer the recall R and the reasoning C of the model in which it alone is linear:
    (max R - R) / (max C - C + 1e-10), at most 50. The maxima are those over the layers, not the
    values of the unchanged model, as in the authors' program.
    """
    r, c = np.asarray(recall, np.float64), np.asarray(reasoning, np.float64)
    return np.minimum((r.max() - r) / (c.max() - c + EPSILON), CAP)


def highest(scores: Sequence[float] | np.ndarray, count: int) -> list[int]:
    """The `count` layers of the highest scores, ascending; of equal ones the later layer."""
    order = np.argsort(np.asarray(scores), kind="stable")[::-1]
    return sorted(int(layer) for layer in order[:count])


def kept_count(layers: int, ratio: float = KEEP_RATIO) -> int:
    """How many layers stay attention: floor(layers * ratio), at least one."""
    return max(1, int(layers * ratio))


@dataclass(frozen=True, slots=True)
class Published:
    """A published model: scores of its layers from the logs, and the layers of its config."""

    name: str
    scores: np.ndarray
    shipped: tuple[int, ...]

    @property
    def chosen(self) -> list[int]:
        """What the score chooses: as many layers as the config has."""
        return highest(self.scores, len(self.shipped))

    @property
    def difference(self) -> tuple[list[int], list[int]]:
        """Layers that only the score chooses, and layers that only the config has."""
        ours, theirs = set(self.chosen), set(self.shipped)
        return sorted(ours - theirs), sorted(theirs - ours)


def published_models(path: Path = PUBLISHED) -> list[Published]:
    """The three published models, scored anew from the numbers of the logs."""
    document = json.loads(path.read_text(encoding="utf-8"))
    return [_published(name, found) for name, found in document["models"].items()]


def _published(name: str, found: Mapping[str, Any]) -> Published:
    recall, reasoning = (
        np.mean([found[kind][task] for task in found[kind]], axis=0)
        for kind in ("recall", "reasoning")
    )
    return Published(name, recall_scores(recall, reasoning), tuple(found["shipped"]))


def main() -> None:
    """Print the table."""
    for model in published_models():
        only_score, only_config = model.difference
        print(f"{model.name}: the score chooses {model.chosen}")
        if not only_config:
            print("    the released config has the same")
        for ours, theirs in zip(only_score, only_config, strict=True):
            a, b = model.scores[ours], model.scores[theirs]
            print(f"    the released config has {theirs} (score {b:.3f}) for {ours} ({a:.3f})")


if __name__ == "__main__":
    main()
