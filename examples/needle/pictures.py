"""Pictures of a training and of an evaluation; needs matplotlib, of the `plot` extra.

python -m examples.needle.pictures LOG.jsonl PICTURE.png
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from examples.needle.measure import DEPTHS

matplotlib.use("Agg")
from matplotlib import pyplot


def draw_heat_map(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the accuracy by depth and length of every model in `results` (see `evaluate`)."""
    models = sorted({result["model"] for result in results})
    figure, axes = pyplot.subplots(
        1, len(models), squeeze=False, figsize=(5.5 * len(models), 3.6), layout="constrained"
    )
    image = None
    for axis, model in zip(axes[0], models, strict=True):
        rows = [result for result in results if result["model"] == model]
        values = 100 * np.array([row["accuracy_by_depth"] for row in rows], float)
        image = axis.imshow(values, vmin=0, vmax=100, cmap="RdYlGn", aspect="auto")
        axis.set_yticks(range(len(rows)), [f"{row['length']:,}" for row in rows])
        axis.set_xticks(range(DEPTHS), [f"{100 * part // DEPTHS}" for part in range(DEPTHS)])
        axis.set_title(model)
        axis.set_xlabel("where the needle lies (percent of the text)")
        axis.set_ylabel("tokens")
        for (row, part), value in np.ndenumerate(values):
            shown = "" if np.isnan(value) else f"{value:.0f}"
            axis.text(part, row, shown, ha="center", va="center", fontsize=8)
    figure.colorbar(image, ax=axes, label="right answers (%)")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def draw_training(log: Path, path: Path, *, window: int = 25) -> None:
    """Draw loss and accuracy over the steps that a log of `train` holds, means of `window`."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    by_step = {line["total"]: line for line in lines}
    steps = np.array(sorted(by_step))
    figure, (upper, lower) = pyplot.subplots(
        2, 1, sharex=True, figsize=(8, 5.5), layout="constrained"
    )
    for axis, name in ((upper, "loss"), (lower, "accuracy")):
        values = np.array([by_step[step][name] for step in steps])
        axis.plot(steps, values, color="0.8", linewidth=0.6)
        axis.plot(steps, _smooth(values, window), linewidth=1.4)
        axis.set_ylabel(name)
    lower.set_xlabel("step")
    for step in steps:
        line = by_step[step]
        if line["step"] == 0:
            for axis in (upper, lower):
                axis.axvline(step, color="0.5", linewidth=0.8, linestyle=":")
            upper.text(step, upper.get_ylim()[1], f" {line['length']} tokens", va="top", fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Means of the last `window` values."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def main() -> None:
    """Draw the training that the command line names."""
    parser = argparse.ArgumentParser(description="Draw the curves of a training.")
    parser.add_argument("log", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    draw_training(arguments.log, arguments.picture)


if __name__ == "__main__":
    main()
