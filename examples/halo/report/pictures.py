"""Pictures of a conversion; needs matplotlib, of the `plot` extra."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from examples.halo.report.extrapolation import GOALS, power_law
from examples.halo.report.stage_results import StageResults, curve_values

matplotlib.use("Agg")
from matplotlib import pyplot

LABELS = {"error": "error of layers", "divergence": "divergence (nats)", "loss": "loss (nats)"}
COLOURS = {"teacher": "0.45", "student": "tab:blue"}


def draw_curves(results: StageResults, path: Path) -> None:
    """Draw what each stage trained on, over its tokens, and the means of a fortieth of it.

    Dashed, and not measured: the power law of the curve, as far as 20 million tokens.
    """
    stages = list(results.curves)
    figure, axes = pyplot.subplots(
        1, len(stages), squeeze=False, figsize=(4 * len(stages), 3.2), layout="constrained"
    )
    for axis, stage in zip(axes[0], stages, strict=True):
        name, tokens, values = curve_values(results.curves[stage])
        axis.plot(tokens, values, color="0.8", linewidth=0.6)
        axis.plot(tokens, _smooth(np.array(values), max(1, len(values) // 40)), linewidth=1.4)
        law = power_law(tokens, values)
        if law is not None and tokens[-1] < GOALS[0]:
            ahead = np.geomspace(tokens[-1], GOALS[0], 20)
            axis.plot(ahead, law.at(ahead), linestyle="--", color="tab:orange", linewidth=1)
        axis.set(title=stage, xlabel="tokens", ylabel=LABELS[name], xscale="log", yscale="log")
    _save(figure, path)


def draw_layers(results: StageResults, path: Path) -> None:
    """Draw scores of layers, those that stay attention filled, and errors before and after."""
    figure, (upper, lower) = pyplot.subplots(
        2, 1, sharex=True, figsize=(8, 4.6), layout="constrained"
    )
    kept = set(results.choice.get("layers", []))
    scores = results.choice.get("scores", [])
    colours = ["tab:orange" if layer in kept else "0.8" for layer in range(len(scores))]
    upper.bar(range(len(scores)), scores, color=colours)
    upper.set(ylabel=f"score: {results.choice.get('score', 'none')}")
    upper.set_title("layers that stay attention in orange" if scores else "layers were given")
    for stage, found in results.evaluations.items():
        if "layer_errors" in found:
            lower.plot(found["layer_errors"], marker="o", markersize=3, label=stage)
    lower.axhline(0.15, color="0.5", linewidth=0.8, linestyle=":")
    lower.set(xlabel="layer", ylabel="error, in variances", yscale="log")
    lower.legend()
    _save(figure, path)


def draw_recall(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the share of values found, by tokens, of each task and model."""
    tasks = sorted({row["task"] for row in rows})
    figure, axes = pyplot.subplots(
        1, len(tasks), squeeze=False, figsize=(4.4 * len(tasks), 3.2), layout="constrained"
    )
    for axis, task in zip(axes[0], tasks, strict=True):
        for model, colour in COLOURS.items():
            chosen = [row for row in rows if (row["task"], row["model"]) == (task, model)]
            lengths = [row["length"] for row in chosen]
            found = [100 * row["found"] for row in chosen]
            axis.plot(lengths, found, marker="o", color=colour, label=model)
        axis.set(title=task, xlabel="tokens", ylabel="values found (%)", xscale="log")
        axis.set_ylim(-3, 103)
        axis.legend()
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Means of the last `window` values."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
