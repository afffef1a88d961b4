"""Trains twins, converts them, and compares twin and student at up to eight times the length.

    python -m examples.halo.twin WORK [--seeds 0,1,2] [--student hypenet] [--minutes M]

The same command continues where it was stopped; the table is WORK/README.md.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from examples.halo.artifacts import compiled, loaded
from examples.halo.files import write_json, write_whole
from examples.halo.options import ConvertOptions, Precision, Score
from examples.halo.pipeline import convert
from examples.halo.student_config import StudentFamily
from examples.halo.training.stage_training import Clock, OutOfTime
from examples.halo.twin.configuration import LENGTH
from examples.halo.twin.train import train
from examples.needle.lessons import Stage, draw_batch
from examples.needle.measure import accuracy, ask_artifact, draw_cases, measure

LONG = 4 * LENGTH
"""Tokens of the texts of fine-tuning."""
LESSONS = {
    LENGTH: Stage(length=LENGTH, batch=4096, steps=1, needles=8, questions=7, rate=0.0),
    LONG: Stage(length=LONG, batch=512, steps=1, needles=20, questions=18, rate=0.0),
}
LENGTHS = (LENGTH, 2 * LENGTH, 4 * LENGTH, 8 * LENGTH)
CASES = 40
Row = dict[str, Any]


def write_lessons(folder: Path, seed: int, lessons: Mapping[int, Stage] = LESSONS) -> list[Path]:
    """Texts for the conversion as files of token ids [texts, tokens], one for each length."""
    paths = []
    for length, stage in lessons.items():
        path = folder / f"lessons-{length}.npy"
        if not path.is_file():
            # Beyond the numbers of the twin's own stages: it has not seen these texts.
            batch = draw_batch(seed, 100 + length, 0, stage)
            with write_whole(path) as file:
                np.save(file, batch.tokens[:, :length].astype(np.uint32))
        paths.append(path)
    return paths


def convert_twin(
    work: Path, seed: int, family: StudentFamily, clock: Clock, tokens: int, threads: int
) -> tuple[Path, Path]:
    """Train a twin and convert it: the directories of both."""
    twin = work / "checkpoint"
    if not twin.is_dir():
        train(work, seed, clock)
    data = write_lessons(work / "texts", seed)
    options = ConvertOptions(
        **{"teacher": twin, "student": family, "work": work / family.value, "seed": seed},
        **{"data": tuple(data), "tokens": tokens, "length": LENGTH, "long_length": LONG},
        **{"batch": 8, "parts": 1, "split": (0.3, 0.4, 0.3), "rates": (2e-3, 1e-3, 3e-4)},
        **{"score": Score.DIVERGENCE, "precision": Precision.FLOAT32, "recompute": False},
        **{"minutes": clock.left, "threads": threads},
    )
    return twin, convert(options, _progress)


def compare(models: Mapping[str, Path], folder: Path, lengths: Sequence[int]) -> list[Row]:
    """The share of needles found by each checkpoint's artifact, by length, on the same cases."""
    rows: list[Row] = []
    for name, checkpoint in models.items():
        artifact = compiled(checkpoint, folder / f"{name}.sala", max(lengths) + 16)
        with loaded(artifact, max(lengths) + 16) as model:
            for length in lengths:
                cases = draw_cases(1, length, CASES)
                found = accuracy(list(measure(ask_artifact(model), cases, 64)))
                rows.append({"model": name, "length": length, "found": found})
    return rows


def table(by_seed: Mapping[int, Sequence[Row]]) -> str:
    """A line for each seed and model."""
    lengths = sorted({row["length"] for rows in by_seed.values() for row in rows})
    lines = [
        f"# Needles found by the dense twin and by what it became ({CASES} cases each)",
        "",
        f"Trained on texts of {LENGTH} tokens; the last stage of the conversion had {LONG}.",
        "",
        "| seed | model | " + " | ".join(f"{length:,}" for length in lengths) + " |",
        "|---:|---|" + "---:|" * len(lengths),
    ]
    for seed, rows in by_seed.items():
        for name in dict.fromkeys(row["model"] for row in rows):
            found = {row["length"]: row["found"] for row in rows if row["model"] == name}
            shares = " | ".join(f"{100 * found[length]:.0f} %" for length in lengths)
            lines.append(f"| {seed} | {name} | {shares} |")
    return "\n".join(lines) + "\n"


def _progress(stage: str, line: dict[str, Any], steps: int, left: float) -> None:
    if line["step"] % 50 == 0 or line["step"] == steps:
        shown = {name: value for name, value in line.items() if name not in ("rate", "norm")}
        print(stage, steps, json.dumps(shown), flush=True)


def main() -> None:
    """Do what the command line asks for, a seed after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--student", type=StudentFamily, default=StudentFamily.HYPENET)
    parser.add_argument("--tokens", type=int, default=2_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock, family = Clock(arguments.minutes), arguments.student
    by_seed: dict[int, list[Row]] = {}
    try:
        for seed in map(int, arguments.seeds.split(",")):
            work = arguments.work / f"seed-{seed}"
            twin, student = convert_twin(
                work, seed, family, clock, arguments.tokens, arguments.threads
            )
            models = {"twin": twin, family.value: student}
            by_seed[seed] = compare(models, work, LENGTHS)
            write_json(work / f"{family.value}-found.json", {"rows": by_seed[seed]})
    except OutOfTime:
        print("the minutes are over: the same command continues")
        return
    text = table(by_seed)
    with write_whole(arguments.work / "README.md") as file:
        file.write(text.encode())
    print(text)


if __name__ == "__main__":
    main()
