"""Trains the twin: what `examples.needle.train` does, for dense attention.

    python -m examples.halo.twin.train WORK [--seed S] [--threads N] [--minutes M]

writes WORK/checkpoint. The same command continues where it was stopped.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from examples.halo.torch_decoder import TorchDecoder
from examples.halo.training.schedule import Schedule
from examples.halo.training.stage_training import Clock, Loss, OutOfTime, StageTraining, trainable
from examples.halo.twin.configuration import STAGES, config
from examples.halo.twin.initial import Weights, initial_weights
from examples.needle.lessons import Stage, draw_batch
from examples.needle.tokenizer import write_tokenizer

AVERAGED = 50


def train(work: Path, seed: int, clock: Clock, stages: tuple[Stage, ...] = STAGES) -> Path:
    """Train through the stages; the checkpoint. OutOfTime where the clock ends before."""
    weights = initial_weights(seed)
    model = TorchDecoder(config(), weights)
    with trainable(weights):
        for number, stage in enumerate(stages):
            training = _Lessons(work / f"stage-{number}", weights, stage, seed, clock)
            training.run(_loss_of(model, seed, number, stage))
    return _write(work / "checkpoint", weights)


class _Lessons(StageTraining):
    """A stage that also ends when enough answers are right."""

    def __init__(
        self, folder: Path, weights: Weights, stage: Stage, seed: int, clock: Clock
    ) -> None:
        last = stage.rate if stage.last_rate is None else stage.last_rate
        schedule = Schedule(stage.steps, stage.batch, 1, stage.length, stage.rate, last)
        self._enough = stage.enough
        super().__init__(folder, weights, schedule, seed, clock, report=_print)

    @property
    def is_done(self) -> bool:
        """Whether all steps are taken, or the last ones answered well."""
        recent = [line["accuracy"] for line in self._lines[-AVERAGED:]]
        knows = len(recent) == AVERAGED and sum(recent) / AVERAGED >= self._enough
        return super().is_done or knows


def _loss_of(model: TorchDecoder, seed: int, number: int, stage: Stage) -> Loss:
    def loss(step: int, part: int) -> dict[str, float]:
        batch = draw_batch(seed, number, step, stage)
        inputs = torch.from_numpy(batch.tokens[:, :-1])
        targets = torch.from_numpy(batch.tokens[:, 1:].reshape(-1))
        weights = torch.from_numpy(batch.weights.reshape(-1))
        logits = model.logits(model.final(inputs))
        each = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        found = (each * weights).sum() / weights.sum()
        found.backward()
        right = (logits.detach().argmax(1) == targets).numpy()
        accuracy = float(right[batch.is_value.reshape(-1)].mean())
        return {"loss": float(found.detach()), "accuracy": accuracy}

    return loss


def _print(line: dict[str, float], steps: int, left: float) -> None:
    if line["step"] % 50 == 0:
        shown = f"loss {line['loss']:.3f} accuracy {line['accuracy']:.3f}"
        print(f"{line['step']}/{steps} {shown} {left:.0f} s left", flush=True)


def _write(directory: Path, weights: Weights) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config(), indent=2) + "\n"
    (directory / "config.json").write_text(text, encoding="utf-8")
    write_tokenizer(directory)
    tensors = {name: x.detach().contiguous() for name, x in weights.items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def main() -> None:
    """Train in the folder that the command line names."""
    parser = argparse.ArgumentParser(description="Train the dense twin of the needle example.")
    parser.add_argument("work", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        print(train(arguments.work, arguments.seed, Clock(arguments.minutes)))
    except OutOfTime:
        print("the minutes are over: the same command continues")


if __name__ == "__main__":
    main()
