"""Trains the example's checkpoint through the reference functions of the dialect, with torch.

    python -m examples.needle.train WORK [--seed S] [--threads N]

Every value is computed by `sala_ir.reference` on torch tensors, which differentiate. The state of
the training lies in WORK and is written every few minutes: the same command goes on from there.
"""

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import array_api_compat.torch as namespace
import torch

from examples.needle.configuration import config
from examples.needle.export import write_checkpoint
from examples.needle.initial import initial_weights
from examples.needle.lessons import LessonBatch, Stage, draw_batch
from examples.needle.selection import SelectionLoss
from sala_compile.sala_ir.frontends import AttentionMode, frontend_for
from sala_compile.sala_ir.interpreter import NewTokens, ReferenceModel

STAGES = (
    Stage(length=64, batch=16, steps=1500, needles=2, questions=2, rate=3e-3, enough=0.9,
          copying=0.5),
    Stage(length=128, batch=8, steps=300, needles=5, questions=5, rate=3e-3, enough=0.965,
          copying=0.25),
    Stage(length=256, batch=4, steps=300, needles=7, questions=6, links=1, rate=2e-3,
          enough=0.98, copying=0.1),
    Stage(length=448, batch=3, steps=300, needles=11, questions=10, links=2, rate=1e-3,
          enough=0.985),
    Stage(length=1024, batch=2, steps=318, needles=20, questions=18, links=4, rate=1e-3,
          last_rate=1e-4),
    Stage(length=1024, batch=2, steps=220, needles=20, questions=18, links=4, rate=5e-4,
          selection=0.3, last_rate=1e-5),
)  # fmt: skip
"""Dense up to 448 tokens; the sparse regime begins at 512."""

WARM_UP = 100
AVERAGED = 50
SAVE_SECONDS = 120.0


@dataclass
class Progress:
    """Where the training stands: the next step of a stage, and steps in all."""

    stage: int = 0
    step: int = 0
    total: int = 0
    accuracy: float = 0.0


@dataclass
class Trainer:
    """Weights as torch parameters, the optimiser, and the module that gives them meaning."""

    work: Path
    seed: int
    use_bfloat16: bool

    def __post_init__(self) -> None:
        frontend = frontend_for(config())
        parsed = frontend.parse_config(config())
        self.weights = initial_weights(frontend.expected_tensors(parsed), self.seed)
        module = frontend.build_module(parsed, AttentionMode.CONFIG)
        self.model = ReferenceModel(module, self.weights, namespace=namespace, dtype=torch.float32)
        matrices = [x for name, x in self.weights.items() if x.ndim == 2 and "embed" not in name]
        others = [x for name, x in self.weights.items() if x.ndim < 2 or "embed" in name]
        groups = [{"params": matrices, "weight_decay": 0.02}, {"params": others}]
        self.optimiser = torch.optim.AdamW(
            groups, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0, foreach=True
        )
        self.progress = Progress()

    def run(self) -> None:
        """Train to the end of the last stage and write the checkpoint."""
        self._resume()
        saved = time.monotonic()
        while self.progress.stage < len(STAGES):
            started = time.monotonic()
            line = self.advance()
            line["seconds"] = round(time.monotonic() - started, 3)
            with (self.work / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            if line["total"] % 20 == 0:
                print(line, flush=True)
            if time.monotonic() - saved > SAVE_SECONDS:
                self._save()
                saved = time.monotonic()
        self._save()

    def advance(self) -> dict[str, Any]:
        """Take one step, and say how it went."""
        at = self.progress
        stage = STAGES[at.stage]
        batch = draw_batch(self.seed, at.stage, at.step, stage)
        rate = learning_rate(stage, at.step) * min(1.0, (at.total + 1) / WARM_UP)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss, accuracy, found = self.losses(batch, stage.selection)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        self.optimiser.step()
        at.accuracy += (accuracy - at.accuracy) / min(at.step + 1, AVERAGED)
        line = {
            **{"total": at.total, "stage": at.stage, "step": at.step, "length": stage.length},
            **{"loss": round(float(loss.detach()), 4), "accuracy": round(accuracy, 4)},
            **{
                "selection": round(found, 4),
                "mean": round(at.accuracy, 4),
                "norm": round(float(norm), 3),
                "rate": rate,
            },
        }
        at.step, at.total = at.step + 1, at.total + 1
        is_enough = at.step > 2 * AVERAGED and at.accuracy >= stage.enough
        if is_enough or at.step >= stage.steps:
            self.progress = Progress(at.stage + 1, 0, at.total)
        return line

    def losses(
        self, batch: LessonBatch, selection: float = 0.0
    ) -> tuple[torch.Tensor, float, float]:
        """Return the loss, the share of values answered right, and the loss of selection."""
        count = len(batch.tokens)
        for slot in range(count):
            self.model.close(slot)
        inputs = batch.tokens[:, :-1]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.use_bfloat16):
            new = [NewTokens(slot, inputs[slot]) for slot in range(count)]
            rows, observed = self.model.step(new, observe=("hidden",))
        logits = torch.cat(rows).float()
        targets = torch.from_numpy(batch.tokens[:, 1:].reshape(-1))
        weights = torch.from_numpy(batch.weights.reshape(-1))
        each = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        loss = (each * weights).sum() / weights.sum()
        right = (logits.detach().argmax(dim=1) == targets).numpy()
        found = self._selection_loss(observed["hidden"], batch) if selection else torch.zeros(())
        accuracy = float(right[batch.is_value.reshape(-1)].mean())
        return loss + selection * found, accuracy, float(found.detach())

    def _selection_loss(
        self, stream: dict[int | None, torch.Tensor], batch: LessonBatch
    ) -> torch.Tensor:
        """The mean loss of the last sparse layer's choices over the texts of the step."""
        last = config()["num_hidden_layers"] - 1
        hidden = stream[last - 1].reshape(*batch.sources.shape, -1)
        loss = SelectionLoss(last, self.weights)
        texts = zip(hidden, batch.sources, strict=True)
        return torch.stack([loss.of_text(x, sources) for x, sources in texts]).mean()

    def _resume(self) -> None:
        path = self.work / "state.pt"
        if not path.is_file():
            return
        state = torch.load(path, weights_only=True)
        with torch.no_grad():
            for name, tensor in self.weights.items():
                tensor.copy_(state["weights"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.progress = Progress(**state["progress"])
        print(f"going on from {self.progress}", flush=True)

    def _save(self) -> None:
        state = {
            "weights": {name: x.detach() for name, x in self.weights.items()},
            "optimiser": self.optimiser.state_dict(),
            "progress": vars(self.progress),
        }
        torch.save(state, self.work / "state.new")
        (self.work / "state.new").replace(self.work / "state.pt")
        arrays = {name: x.detach().numpy() for name, x in self.weights.items()}
        write_checkpoint(self.work / "checkpoint", arrays)


def learning_rate(stage: Stage, step: int) -> float:
    """The rate of a step: constant, or falling along a cosine over the whole stage."""
    if stage.last_rate is None:
        return stage.rate
    fall = 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / stage.steps)))
    return stage.last_rate + (stage.rate - stage.last_rate) * fall


def main() -> None:
    """Train in the directory that the command line names."""
    parser = argparse.ArgumentParser(description="Train the needle example.")
    parser.add_argument("work", type=Path, help="directory of logs, states and the checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--float32", action="store_true", help="products of matrices in float32, not bfloat16"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    Trainer(arguments.work, arguments.seed, not arguments.float32).run()


if __name__ == "__main__":
    main()
